"""The door: what a request passes before any resource sees it, in order."""

from dataclasses import dataclass
from typing import Any

from falcon.asgi import Request, Response

from ingest.auth.authentication import Authentication, recognize
from ingest.auth.keys import Key, KeyRing, Scope
from ingest.auth.rate_limits import RateLimits, RequestLimits
from ingest.config.settings import Settings
from ingest.http.swagger import DOCUMENT_PATH, PREFIX

_PROBES = frozenset({"livez", "readyz"})
_OPEN = _PROBES | {DOCUMENT_PATH.strip("/"), PREFIX.strip("/")}


def scope_for(route: str, method: str) -> Scope | None:
    """What a key needs for a route: events are sent and asked for below /events, health and
    documentation are for everyone, and all else is for operators."""
    first = _first(route)
    if first == "events":
        return "ingest" if method == "POST" else "query"
    return None if first in _OPEN else "admin"


def is_probe(route: str) -> bool:
    """Health is asked for however busy a neighbour at the same address is."""
    return _first(route) in _PROBES


def _first(route: str) -> str:
    return route.removeprefix("/v1").strip("/").partition("/")[0]


SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Swagger UI has its script in the page; nothing comes from anywhere else.
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " frame-ancestors 'none'",
}


class SecurityHeaders:
    """Falcon middleware: what tells browsers to be careful with our replies."""

    async def process_response(
        self, req: Request, resp: Response, resource: object, req_succeeded: bool
    ) -> None:
        resp.set_headers(SECURITY_HEADERS)


@dataclass(frozen=True, slots=True)
class Access:
    """middleware: to run before all other; limits: for the events, once they are counted."""

    keys: KeyRing
    limits: RateLimits
    middleware: list[Any]

    def allows_body(self, scope: dict[str, Any]) -> bool:
        """Whether the body of the request of this ASGI scope is worth reading."""
        return not self.keys.required or recognize(self.keys, scope) is not None

    def allows_fast_path(self, key: Key | None) -> bool:
        """Whether events are taken from who has this key, from anywhere and without a limit."""
        if self.keys.required and (key is None or "ingest" not in key.scopes or key.origins):
            return False
        return self.limits.has_none(key)


def build_access(settings: Settings) -> Access:
    """Raises KeysError."""
    keys = KeyRing(settings.keys_file)
    rates = settings.rate_limits
    limits = RateLimits(
        {"requests": rates.requests, "events": rates.events, "failures": rates.failures},
        redis_url=settings.redis_url,
    )

    async def failed(req: Request, resp: Response) -> None:
        await limits.take("failures", req, resp)

    middleware = [
        SecurityHeaders(),
        Authentication(keys, scope_for, failed),
        RequestLimits(limits, is_free=is_probe),
    ]
    return Access(keys, limits, middleware)
