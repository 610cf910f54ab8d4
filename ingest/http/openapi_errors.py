"""What every operation of the OpenAPI document has in common: its errors, and keys.

Which errors there are is said by the tables from error class to status. Here is which of them an
operation can answer: the checks of a request's form come before all paths, keys and rate limits
before most, and a body's type only matters where there is one.
"""

from typing import Any

from ingest.http.routes import RouteTable

ERRORS = {
    400: "The request, a parameter, a header or an event is wrong: the message says what",
    401: "A key is needed, and there is none, or not a valid one",
    403: "The key is valid, and not for this or not from this origin",
    408: "The body did not arrive in time",
    413: "Too many bytes or events",
    414: "The URL is too long",
    415: "A Content-Type or Content-Encoding that is not taken",
    429: "More than the rate limit, or too many queries wait: retry after Retry-After seconds",
    431: "The headers are too large",
    500: "A bug; it was logged",
    503: "No room, no disk, shutting down, or storage can't answer. With Retry-After: retry later;"
    " without it an operator must act",
}
"""By status. What a GET is asked for has no type, so that 415 is for POST."""
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of event-stream keys"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_RETRY = {
    "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds", "required": False}
}


def complete(document: dict[str, Any], table: RouteTable) -> dict[str, Any]:
    """`document` with the errors and the keys of every operation."""
    components = document["components"]
    components["securitySchemes"] = _SCHEMES
    components["responses"] = {str(status): _response(status) for status in ERRORS}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            has_own = operation["responses"]
            for status in _statuses(table, path, method.upper()):
                reference = {"$ref": f"#/components/responses/{status}"}
                has_own.setdefault(str(status), reference)
            if table.scope_for(path, method.upper()) is not None:
                # Or none, as long as there are no keys.
                operation["security"] = [*({name: []} for name in _SCHEMES), {}]
    return document


def _statuses(table: RouteTable, path: str, method: str) -> list[int]:
    left_out = set()
    if method != "POST":
        left_out.add(415)
    if table.scope_for(path, method) is None:
        left_out |= {401, 403}
    if table.is_probe(path):
        left_out.add(429)
    return [status for status in ERRORS if status not in left_out]


def _response(status: int) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    response: dict[str, Any] = {"description": ERRORS[status], "content": content}
    return response | ({"headers": _RETRY} if status in (429, 503) else {})
