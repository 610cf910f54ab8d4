"""Rate limits counted in Redis, for all workers and services that use it.

Imported only if Redis is used, because its client takes half a second to import.
"""

from limits import RateLimitItem
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from ingest.auth.rate_limits import LimitState
from storage.redis import OPTIONS, REDIS_ERRORS, RedisBreaker


class RedisRateLimits:
    """Counts against limits in Redis."""

    def __init__(self, redis_url: str) -> None:
        """Use the Redis at `redis_url`. Connects at the first `take`."""
        url = redis_url.replace("unix://", "redis+unix://")
        storage = RedisStorage(f"async+{url}", implementation="redispy", **OPTIONS)
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._breaker = RedisBreaker("rate limits")

    async def take(self, item: RateLimitItem, who: str, cost: int) -> LimitState | None:
        """Count `cost` for `who`; None while Redis does not answer."""
        if self._breaker.is_paused:
            return None
        try:
            is_allowed = await self._limiter.hit(item, who, cost=cost)
            window = await self._limiter.get_window_stats(item, who)
        except REDIS_ERRORS as error:
            self._breaker.failed(error)
            return None
        self._breaker.answered()
        return LimitState(is_allowed, window.reset_time, window.remaining)
