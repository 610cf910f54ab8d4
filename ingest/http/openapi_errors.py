"""The parts of the OpenAPI document that operations share: error responses and API keys.

The tables from error class to status (`ingest.http.errors`, `metrics_api.errors`) define which
errors exist. This module decides which of them an operation can return:

- Limits of URL, headers and body apply to all paths.
- API keys apply to paths with a scope, and rate limits to all paths except probes.
- The type of a body is only checked for POST.
"""

from typing import Any

from ingest.http.routes import RouteTable

ERRORS = {
    400: "The request, a parameter, a header or an event is invalid: the message says what",
    401: "The request needs a valid API key",
    403: "The key does not have the scope of this operation, or is for other origins",
    408: "The body did not arrive in time",
    413: "The request has too many bytes or events",
    414: "The URL is too long",
    415: "The Content-Type or Content-Encoding is not supported",
    429: "The rate limit is exceeded, or too many queries wait: retry after Retry-After seconds",
    431: "The headers are too large",
    500: "There is a bug in the service; it was logged",
    503: "There is no room, the disk can't be written, storage was too slow or can't answer, or the"
    " service is shutting down."
    " With Retry-After, retry later. Without it, an operator must act",
}
"""Description of each error, by status."""
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of event-stream keys"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_POST_SCHEMES = {
    "browser_key": {
        "type": "apiKey",
        "in": "query",
        "name": "browser_key",
        "description": "A key for browsers, which may only send events",
    },
}
_RETRY = {
    "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds", "required": False}
}


def complete(document: dict[str, Any], table: RouteTable) -> dict[str, Any]:
    """Add the error responses and the API keys of every operation to `document`.

    Args:
        document: an OpenAPI document; it is changed.
        table: the routes, with their scopes.

    Returns:
        The same document.
    """
    components = document["components"]
    components["securitySchemes"] = _SCHEMES | _POST_SCHEMES
    components["responses"] = {str(status): _response(status) for status in ERRORS}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            responses = operation["responses"]
            for status in _statuses(table, path, method.upper()):
                reference = {"$ref": f"#/components/responses/{status}"}
                responses.setdefault(str(status), reference)
            if table.scope_for(path, method.upper()) is not None:
                # {} allows requests without a key: a service without keys needs none.
                names = [*_SCHEMES, *(_POST_SCHEMES if method == "post" else ())]
                operation["security"] = [*({name: []} for name in names), {}]
    return document


def _statuses(table: RouteTable, path: str, method: str) -> list[int]:
    impossible = set()
    if method != "POST":
        impossible.add(415)
    if table.scope_for(path, method) is None:
        impossible |= {401, 403}
    if table.is_probe(path):
        impossible.add(429)
    return [status for status in ERRORS if status not in impossible]


def _response(status: int) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    response: dict[str, Any] = {"description": ERRORS[status], "content": content}
    return response | ({"headers": _RETRY} if status in (429, 503) else {})
