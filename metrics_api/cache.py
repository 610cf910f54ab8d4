"""Where replies are kept for a short while: in this process, or in Redis for all of them.

A cache never fails: what it can't find or keep is computed again.
"""

import time
from collections.abc import Callable
from typing import Protocol

import msgspec
import structlog
from cachetools import TLRUCache
from redis.asyncio import Redis
from redis.exceptions import RedisError

PAUSE_S = 1.0
"""Between attempts at a Redis that does not answer, so that it slows down one request alone."""
TIMEOUT_S = 0.25

log = structlog.get_logger()


class Reply(msgspec.Struct, frozen=True):
    """made_s: Unix time; life_s: how long it may be given out."""

    body: bytes
    media_type: str
    made_s: float
    life_s: float


class Cache(Protocol):
    async def get(self, key: str) -> Reply | None: ...

    async def put(self, key: str, reply: Reply) -> None: ...

    async def close(self) -> None: ...


class MemoryCache:
    """Of this process; the least recently used reply goes first."""

    def __init__(self, *, bytes_max: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._replies: TLRUCache[str, Reply] = TLRUCache(
            bytes_max,
            ttu=lambda _, reply, now: now + reply.life_s,
            timer=clock,
            getsizeof=lambda reply: len(reply.body),
        )

    async def get(self, key: str) -> Reply | None:
        return self._replies.get(key)

    async def put(self, key: str, reply: Reply) -> None:
        if len(reply.body) <= self._replies.maxsize:
            self._replies[key] = reply

    async def close(self) -> None:
        self._replies.clear()


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
