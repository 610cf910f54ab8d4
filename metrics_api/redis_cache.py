"""Replies kept in Redis, for all workers and services that ask the same storage.

Imported only where there is a Redis: its client takes half a second to import.
"""

import time
from collections.abc import Callable

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from metrics_api.cache import Reply

PAUSE_S = 1.0
"""Between attempts at a Redis that does not answer, so that it slows down one request alone."""
TIMEOUT_S = 0.25

log = structlog.get_logger()


class RedisCache:
    """Shared by all workers and services that use the same storage."""

    def __init__(
        self,
        url: str,
        *,
        namespace: str,
        on_state: Callable[[bool], None] = lambda up: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """namespace: of the storage that the replies are from; on_state: told whether Redis
        answers."""
        self._redis = Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=None
        )
        self._namespace = namespace
        self._on_state = on_state
        self._clock = clock
        self._paused_until_s = 0.0
        self._is_up = True

    async def get(self, key: str) -> Reply | None:
        if self._clock() < self._paused_until_s:
            return None
        try:
            stored = await self._redis.get(self._key(key))
            self._note(None)
            return msgspec.msgpack.decode(stored, type=Reply) if isinstance(stored, bytes) else None
        except (RedisError, OSError, TimeoutError) as error:
            self._note(error)
        except msgspec.MsgspecError:
            log.warning("a cached reply can't be read")
        return None

    async def put(self, key: str, reply: Reply) -> None:
        if self._clock() < self._paused_until_s:
            return
        life_ms = max(1, round(reply.life_s * 1000))
        try:
            await self._redis.set(self._key(key), msgspec.msgpack.encode(reply), px=life_ms)
            self._note(None)
        except (RedisError, OSError, TimeoutError) as error:
            self._note(error)

    async def close(self) -> None:
        await self._redis.aclose()

    def _key(self, key: str) -> str:
        return f"event-stream:{self._namespace}:{key}"

    def _note(self, error: Exception | None) -> None:
        if error is not None:
            self._paused_until_s = self._clock() + PAUSE_S
        if (error is None) == self._is_up:
            return
        self._is_up = error is None
        self._on_state(self._is_up)
        if error is None:
            log.info("the cache in Redis answers again")
        else:
            # Not the error's text: it may name the URL, which may hold a password.
            log.warning("the cache in Redis does not answer", error=type(error).__name__)
