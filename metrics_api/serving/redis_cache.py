"""Cache of responses in Redis.

The module is imported only if Redis is configured, because the import of its client takes half a
second.
"""

import time
from collections.abc import Callable

import msgspec
import structlog
from redis.asyncio import Redis

from metrics_api.serving.cache import CachedResponse
from storage.redis import OPTIONS, REDIS_ERRORS, RedisBreaker

log = structlog.get_logger()


class RedisCache:
    """A cache that all workers and services with the same storage share."""

    def __init__(
        self,
        url: str,
        *,
        namespace: str,
        on_state: Callable[[bool], None] = lambda up: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make the client. It connects when it is first used.

        Args:
            url: URL of Redis.
            namespace: part of each key. It names the storage that the responses come from.
            on_state: called with True when Redis answers again, and with False when it fails.
            clock: monotonic, in seconds.
        """
        self._redis = Redis.from_url(url, **OPTIONS)
        self._namespace = namespace
        self._breaker = RedisBreaker("cache", on_change=on_state, clock=clock)

    async def get(self, key: str) -> CachedResponse | None:
        """Return the response of a key, or None if there is none or Redis fails."""
        if self._breaker.is_paused:
            return None
        try:
            stored = await self._redis.get(self._key(key))
            self._breaker.answered()
            return (
                msgspec.msgpack.decode(stored, type=CachedResponse)
                if isinstance(stored, bytes)
                else None
            )
        except REDIS_ERRORS as error:
            self._breaker.failed(error)
        except msgspec.MsgspecError:
            log.warning("a cached response can't be read")
        return None

    async def put(self, key: str, response: CachedResponse) -> None:
        """Store a response for its `life_s`, unless Redis fails."""
        if self._breaker.is_paused:
            return
        life_ms = max(1, round(response.life_s * 1000))
        try:
            await self._redis.set(self._key(key), msgspec.msgpack.encode(response), px=life_ms)
            self._breaker.answered()
        except REDIS_ERRORS as error:
            self._breaker.failed(error)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def _key(self, key: str) -> str:
        return f"event-stream:{self._namespace}:{key}"
