"""The door: what a request passes before any resource sees it, in order."""

from dataclasses import dataclass
from typing import Any

from falcon.asgi import Request, Response

from ingest.auth import Authentication, presented
from ingest.keys import KeyRing, Scope, keys_path
from ingest.rate_limits import RateLimits, RequestLimits
from ingest.settings import Settings

SCOPES: dict[str, dict[str, Scope]] = {
    "/events": {"POST": "ingest", "GET": "query"},
    "/events/batch": {"POST": "ingest"},
    "/events/metrics": {"GET": "query"},
    "/events/top": {"GET": "query"},
    "/events/funnel": {"GET": "query"},
    "/events/retention": {"GET": "query"},
    "/events/names": {"GET": "query"},
    "/events/properties": {"GET": "query"},
    "/metrics": {"GET": "admin"},
    "/debug/ledger": {"GET": "admin"},
}
"""What a key needs for what; the rest, health and documentation, is for everyone."""

_HEADERS = {
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
        resp.set_headers(_HEADERS)


@dataclass(frozen=True, slots=True)
class Access:
    """middleware: to run before all other; limits: for the events, once they are counted."""

    keys: KeyRing
    limits: RateLimits
    middleware: list[Any]

    def may_send(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether the body of a request with these headers is worth reading."""
        return not self.keys.required or self.keys.find(presented(headers)) is not None


def build_access(settings: Settings) -> Access:
    """Raises KeysError."""
    keys = KeyRing(keys_path(settings))
    rates = settings.rate_limits
    limits = RateLimits(
        {"requests": rates.requests, "events": rates.events, "failures": rates.failures},
        redis_url=settings.redis_url,
    )

    async def failed(req: Request, resp: Response) -> None:
        await limits.take("failures", req, resp)

    middleware = [SecurityHeaders(), Authentication(keys, SCOPES, failed), RequestLimits(limits)]
    return Access(keys, limits, middleware)
