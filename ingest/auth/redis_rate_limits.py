"""Windows of rate limits in Redis, for all workers and services that use it.

Imported only where there is a Redis: its client takes half a second to import.
"""

from limits import RateLimitItem
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from storage.redis import OPTIONS, REDIS_ERRORS, RedisBreaker


class RedisRateLimits:
    def __init__(self, redis_url: str) -> None:
        url = redis_url.replace("unix://", "redis+unix://")
        storage = RedisStorage(f"async+{url}", implementation="redispy", **OPTIONS)
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._breaker = RedisBreaker("rate limits")

    async def take(
        self, item: RateLimitItem, who: str, cost: int
    ) -> tuple[bool, float, int] | None:
        """(whether there was room for `cost`, when the window ends in Unix time, what is left);
        None while Redis does not answer."""
        if self._breaker.is_paused:
            return None
        try:
            is_taken = await self._limiter.hit(item, who, cost=cost)
            ends_s, left = await self._limiter.get_window_stats(item, who)
        except REDIS_ERRORS as error:
            self._breaker.failed(error)
            return None
        self._breaker.answered()
        return is_taken, ends_s, left
