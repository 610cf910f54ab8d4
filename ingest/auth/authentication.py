"""Authentication by API key, and CORS.

Once a key exists, every request needs a key with the scope of its route. The key comes in
`Authorization: Bearer` or `X-API-Key`. It must not be in the URL, because URLs end up in logs.

Keys for browsers belong to origins and may only send events (CORS, fetch.spec.whatwg.org). They are
not secret, because a page has them in its source. So they may also come in the query parameter
`browser_key`: `navigator.sendBeacon` can't set headers.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

from falcon.asgi import Request, Response

from ingest.auth.keys import Key, KeyRing, Scope
from ingest.errors import ForbiddenError, KeyInUrlError, UnauthorizedError

PREFLIGHT_S = 600
_KEY = "event_stream.key"
_IN_URL = re.compile(
    r"(?:^|[&;])(?:api[_-]?key|access[_-]?token|key|token)=|es_[0-9a-f]{12}_", re.I
)
_BROWSER_KEY = re.compile(r"(?:^|&)browser_key=([^&]*)")
_CORS_HEADERS = "Authorization, Content-Encoding, Content-Type, Idempotency-Key, Prefer, X-API-Key"


class Authentication:
    """Falcon middleware that checks the key that `recognize` found."""

    def __init__(
        self,
        keys: KeyRing,
        scope_for: Callable[[str, str], Scope | None],
        failed: Callable[[Request, Response], Awaitable[None]],
    ) -> None:
        """Check requests against `keys`.

        Args:
            keys: the keys of this worker.
            scope_for: returns the scope that a route and a method need; None if they need no key.
            failed: called with each request whose key is wrong; may raise.
        """
        self._keys = keys
        self._failed = failed
        self._scope_for = scope_for

    async def process_request(self, req: Request, resp: Response) -> None:
        """Add the CORS headers and answer preflight requests, which have no key."""
        origin = req.get_header("Origin")
        if origin is None or origin not in self._keys.origins():
            return
        resp.set_header("Access-Control-Allow-Origin", origin)
        resp.append_header("Vary", "Origin")
        resp.set_header("Access-Control-Expose-Headers", "Retry-After, Preference-Applied")
        if req.method == "OPTIONS" and req.get_header("Access-Control-Request-Method"):
            resp.set_headers(
                {
                    "Access-Control-Allow-Methods": "POST",
                    "Access-Control-Allow-Headers": _CORS_HEADERS,
                    "Access-Control-Max-Age": str(PREFLIGHT_S),
                }
            )
            resp.status = 204
            resp.complete = True

    async def process_resource(
        self, req: Request, resp: Response, resource: object, params: dict[str, Any]
    ) -> None:
        """Check the key of the request.

        Raises:
            KeyInUrlError: the URL has a key that must not be there.
            UnauthorizedError: the request needs a valid key.
            ForbiddenError: the key lacks the scope, or belongs to other origins.
        """
        key = key_of(req.scope)
        in_url = _in_url(req.scope)
        if req.query_string:
            self._check_url(req.query_string, in_url)
        scope = self._scope_for(req.uri_template or "", req.method)
        if scope is None or not self._keys.required:
            return
        if key is None:
            if _presented(req.scope["headers"]) or in_url:
                await self._failed(req, resp)
            raise UnauthorizedError
        if scope not in key.scopes:
            raise ForbiddenError(f"This key lacks the scope {scope}")
        if key.origins and req.get_header("Origin") not in key.origins:
            raise ForbiddenError("This key is for browsers on other origins")

    def _check_url(self, query: str, in_url: str) -> None:
        """Raise KeyInUrlError if a URL has a secret key, valid or not."""
        found = self._keys.find(in_url)
        is_secret = found is not None and not found.origins
        if is_secret or _IN_URL.search(_BROWSER_KEY.sub("", query, count=1)):
            raise KeyInUrlError


def recognize(keys: KeyRing, scope: dict[str, Any]) -> Key | None:
    """Return the valid key of a request, if it has one, and keep it in the ASGI scope."""
    key = keys.find(_presented(scope["headers"]))
    if key is None:
        found = keys.find(_in_url(scope))
        key = found if found is not None and found.origins else None
    scope[_KEY] = key
    return key


def key_of(scope: dict[str, Any]) -> Key | None:
    """Return the key that `recognize` found for this ASGI scope, if any."""
    return scope.get(_KEY)


def _in_url(scope: dict[str, Any]) -> str:
    """Return the query parameter `browser_key`; "" if there is none."""
    found = _BROWSER_KEY.search(scope["query_string"].decode("latin-1"))
    return unquote(found[1]) if found is not None else ""


def _presented(headers: list[tuple[bytes, bytes]]) -> str:
    """Return the key in the headers; "" if there is none."""
    found = {name: value for name, value in headers if name in (b"authorization", b"x-api-key")}
    kind, _, credentials = found.get(b"authorization", b"").partition(b" ")
    text = credentials.strip() if kind.lower() == b"bearer" else found.get(b"x-api-key", b"")
    return text.decode("latin-1")
