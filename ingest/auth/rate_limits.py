"""Rate limits: requests and events a second, for each key or, without keys, for each address.

A sliding window (the `limits` library), in this worker's memory or in Redis for all of them. While
Redis does not answer, each worker counts for itself: a limit is then higher, never gone.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from falcon.asgi import Request, Response
from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from ingest.auth.addresses import client_of
from ingest.auth.authentication import key_of
from ingest.auth.keys import Key
from ingest.errors import RateLimitError, TooLargeError

Kind = Literal["requests", "events", "failures"]


class RateLimits:
    def __init__(self, rates: Mapping[Kind, str], *, redis_url: str | None = None) -> None:
        """rates: such as `100/second;1000/minute`, of every key or address whose key does not say
        otherwise; '' for no limit. Raises ValueError."""
        self._rates = {kind: parse_rates(text) for kind, text in rates.items()}
        self._parsed: dict[str, list[RateLimitItem]] = {}
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared = None
        if redis_url is not None:
            from ingest.auth.redis_rate_limits import RedisRateLimits

            self._shared = RedisRateLimits(redis_url)

    def apply(self, kind: Kind, key: Key | None) -> bool:
        """Whether there is a limit on `kind` for the holder of `key`."""
        return bool(self._items_for(kind, key))

    async def take(self, kind: Kind, req: Request, resp: Response, cost: int = 1) -> None:
        """Count `cost` of `kind` for who asks, and say on the reply what is left.

        Raises RateLimitError, TooLargeError when it is more than there ever is.
        """
        key = key_of(req.scope)
        items = self._items_for(kind, key)
        if not items:
            return
        who = f"{kind}:{key.id if key is not None else client_of(req.remote_addr)}"
        nearest: tuple[int, RateLimitItem, int] | None = None
        for item in items:
            if cost > item.amount:
                raise TooLargeError(
                    f"No more than {item.amount} {kind} at once are allowed: send smaller requests"
                )
            is_taken, ends_s, left = await self._take(item, who, cost)
            wait_s = max(1, round(ends_s - time.time()))
            if nearest is None or left < nearest[0] or not is_taken:
                nearest = (left, item, wait_s)
            _tell(resp, *nearest)
            if not is_taken:
                raise RateLimitError(f"More {kind} than {item}: slow down", wait_s)

    def _items_for(self, kind: Kind, key: Key | None) -> list[RateLimitItem]:
        """The limits of the key itself, or else those of the settings."""
        if key is not None and kind != "failures":
            own = key.requests_rate if kind == "requests" else key.events_rate
            if own:
                return self._items(own)
        return self._rates[kind]

    def _items(self, text: str) -> list[RateLimitItem]:
        if text not in self._parsed:
            self._parsed[text] = parse_rates(text)
        return self._parsed[text]

    async def _take(self, item: RateLimitItem, who: str, cost: int) -> tuple[bool, float, int]:
        shared = None
        if self._shared is not None:
            shared = await self._shared.take(item, who, cost)
        if shared is not None:
            return shared
        is_taken = self._own.hit(item, who, cost=cost)
        return (is_taken, *self._own.get_window_stats(item, who))


def _tell(resp: Response, left: int, item: RateLimitItem, wait_s: int) -> None:
    resp.set_headers(
        {
            "RateLimit-Limit": str(item.amount),
            "RateLimit-Remaining": str(left),
            "RateLimit-Reset": str(wait_s),
        }
    )


class RequestLimits:
    """Falcon middleware: a request is counted once it is known who asks."""

    def __init__(self, limits: RateLimits, *, is_free: Callable[[str], bool]) -> None:
        """is_free: whether requests for a route are not counted."""
        self._limits = limits
        self._is_free = is_free

    async def process_resource(
        self, req: Request, resp: Response, resource: object, params: dict[str, Any]
    ) -> None:
        if not self._is_free(req.uri_template or ""):
            await self._limits.take("requests", req, resp)


def parse_rates(text: str) -> list[RateLimitItem]:
    """Raises ValueError."""
    return parse_many(text) if text else []
