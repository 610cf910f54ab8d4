"""Rate limits on requests, events and failed authentications.

Each key has its own counts; without keys, each address has. A sliding window (the `limits` library)
counts in this worker's memory, or in Redis for all workers. While Redis does not answer, each
worker counts by itself. The effective limit is then higher, but a limit remains.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from falcon.asgi import Request, Response
from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from ingest.auth.addresses import client_of
from ingest.auth.authentication import key_of
from ingest.auth.keys import Key
from ingest.errors import RateLimitError, TooLargeError

LimitKind = Literal["requests", "events", "failures"]


class LimitState(NamedTuple):
    """The state of one limit after an attempt to count against it.

    Attributes:
        is_allowed: whether there was room for the attempt.
        resets_s: when the window ends, in Unix time.
        remaining: how much the window still allows.
    """

    is_allowed: bool
    resets_s: float
    remaining: int


class RateLimits:
    """Counts requests, events and failures against their limits."""

    def __init__(self, rates: Mapping[LimitKind, str], *, redis_url: str | None = None) -> None:
        """Set the default limits.

        Args:
            rates: limits by kind, such as `100/second;1000/minute`; "" for no limit. They apply to
                each key that has no limits of its own, and to each address without a key.
            redis_url: the Redis that counts for all workers; None to count in memory.

        Raises:
            ValueError: a rate is not valid.
        """
        self._rates = {kind: parse_rates(text) for kind, text in rates.items()}
        self._parsed: dict[str, list[RateLimitItem]] = {}
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared = None
        if redis_url is not None:
            from ingest.auth.redis_rate_limits import RedisRateLimits

            self._shared = RedisRateLimits(redis_url)

    def apply(self, kind: LimitKind, key: Key | None) -> bool:
        """Return whether `kind` has a limit for `key`."""
        return bool(self._items_for(kind, key))

    async def take(self, kind: LimitKind, req: Request, resp: Response, cost: int = 1) -> None:
        """Count `cost` of `kind` for the sender, and set the RateLimit headers of the response.

        If there are several limits, the headers describe the one with the least remaining.

        Raises:
            RateLimitError: a limit is exceeded.
            TooLargeError: `cost` is more than a limit ever allows.
        """
        key = key_of(req.scope)
        items = self._items_for(kind, key)
        if not items:
            return
        who = f"{kind}:{key.id if key is not None else client_of(req.remote_addr)}"
        least_remaining: float = math.inf
        for item in items:
            if cost > item.amount:
                raise TooLargeError(
                    f"No more than {item.amount} {kind} at once are allowed: send smaller requests"
                )
            state = await self._take(item, who, cost)
            wait_s = max(1, round(state.resets_s - time.time()))
            if state.remaining < least_remaining or not state.is_allowed:
                least_remaining = state.remaining
                _set_headers(resp, item, state.remaining, wait_s)
            if not state.is_allowed:
                raise RateLimitError(f"More {kind} than {item}: slow down", wait_s)

    def _items_for(self, kind: LimitKind, key: Key | None) -> list[RateLimitItem]:
        """Return the limits of the key itself if it has any, else the limits of the settings."""
        if key is not None and kind != "failures":
            own = key.requests_rate if kind == "requests" else key.events_rate
            if own:
                return self._items(own)
        return self._rates[kind]

    def _items(self, text: str) -> list[RateLimitItem]:
        if text not in self._parsed:
            self._parsed[text] = parse_rates(text)
        return self._parsed[text]

    async def _take(self, item: RateLimitItem, who: str, cost: int) -> LimitState:
        if self._shared is not None:
            state = await self._shared.take(item, who, cost)
            if state is not None:
                return state
        is_allowed = self._own.hit(item, who, cost=cost)
        window = self._own.get_window_stats(item, who)
        return LimitState(is_allowed, window.reset_time, window.remaining)


def _set_headers(resp: Response, item: RateLimitItem, remaining: int, wait_s: int) -> None:
    resp.set_headers(
        {
            "RateLimit-Limit": str(item.amount),
            "RateLimit-Remaining": str(remaining),
            "RateLimit-Reset": str(wait_s),
        }
    )


class RequestLimits:
    """Falcon middleware that counts requests, after `Authentication` has checked the key."""

    def __init__(self, limits: RateLimits, *, is_free: Callable[[str], bool]) -> None:
        """Count against `limits`.

        Args:
            limits: where to count.
            is_free: whether requests for a route are not counted.
        """
        self._limits = limits
        self._is_free = is_free

    async def process_resource(
        self, req: Request, resp: Response, resource: object, params: dict[str, Any]
    ) -> None:
        """Count the request.

        Raises:
            RateLimitError: a limit is exceeded.
        """
        if not self._is_free(req.uri_template or ""):
            await self._limits.take("requests", req, resp)


def parse_rates(text: str) -> list[RateLimitItem]:
    """Parse rates such as `100/second;1000/minute`; "" gives none.

    Raises:
        ValueError: the text is not a list of rates.
    """
    return parse_many(text) if text else []
