"""Access control: the keys, the rate limits, and the middleware that applies both."""

from collections.abc import Callable
from typing import Any

from falcon.asgi import Request, Response

from ingest.auth.authentication import Authentication, recognize
from ingest.auth.keys import Key, KeyRing, Scope
from ingest.auth.rate_limits import RateLimits, RequestLimits


class Access:
    """Decides which requests are allowed. The routes say which scope each request needs."""

    def __init__(self, keys: KeyRing, limits: RateLimits) -> None:
        """Apply `limits` to each of `keys`, or to each address while there are no keys."""
        self.keys = keys
        self.limits = limits

    def middleware(
        self,
        scope_for: Callable[[str, str], Scope | None],
        is_free: Callable[[str], bool],
    ) -> list[Any]:
        """Return the Falcon middleware, in order.

        Args:
            scope_for: returns the scope that a route and a method need; None if they need no key.
            is_free: whether requests for a route are not counted.
        """

        async def failed(req: Request, resp: Response) -> None:
            await self.limits.take("failures", req, resp)

        return [
            Authentication(self.keys, scope_for, failed),
            RequestLimits(self.limits, is_free=is_free),
        ]

    def allows_body(self, scope: dict[str, Any]) -> bool:
        """Return whether the body of the request with this ASGI scope may be read."""
        return not self.keys.required or recognize(self.keys, scope) is not None

    def allows_fast_path(self, key: Key | None) -> bool:
        """Return whether `key` may send events from any origin and without rate limits."""
        if self.keys.required and (key is None or "ingest" not in key.scopes or key.origins):
            return False
        return not (self.limits.apply("requests", key) or self.limits.apply("events", key))
