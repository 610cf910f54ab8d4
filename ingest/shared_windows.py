"""Windows of rate limits in Redis, for all workers and services that use it.

Imported only where there is a Redis: its client takes half a second to import.
"""

import time
from typing import Any

import structlog
from limits import RateLimitItem
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.exceptions import RedisError

TIMEOUT_S = 0.25
PAUSE_S = 1.0
"""Between attempts at a Redis that does not answer."""

log = structlog.get_logger()


class SharedWindows:
    def __init__(self, redis_url: str) -> None:
        options: dict[str, Any] = {
            "socket_timeout": TIMEOUT_S,
            "socket_connect_timeout": TIMEOUT_S,
            "retry": None,
        }
        url = redis_url.replace("unix://", "redis+unix://")
        storage = RedisStorage(f"async+{url}", implementation="redispy", **options)
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._paused_until_s = 0.0

    async def take(
        self, item: RateLimitItem, who: str, cost: int
    ) -> tuple[bool, float, int] | None:
        """(whether there was room for `cost`, when the window ends in Unix time, what is left);
        None while Redis does not answer."""
        if time.monotonic() < self._paused_until_s:
            return None
        try:
            is_taken = await self._limiter.hit(item, who, cost=cost)
            ends_s, left = await self._limiter.get_window_stats(item, who)
        except (RedisError, OSError, TimeoutError) as error:
            if self._paused_until_s == 0:
                log.warning("rate limits: Redis does not answer", error=type(error).__name__)
            self._paused_until_s = time.monotonic() + PAUSE_S
            return None
        self._paused_until_s = 0.0
        return is_taken, ends_s, left
