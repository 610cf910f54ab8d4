"""Where replies are kept for a short while: in this process, or in Redis (redis_cache.py).

A cache never fails: what it can't find or keep is computed again.
"""

import time
from collections.abc import Callable
from typing import Protocol

import msgspec
from cachetools import TLRUCache


class Reply(msgspec.Struct, frozen=True):
    """made_s: Unix time; life_s: how long it may be given out; is_truncated: its list goes on."""

    body: bytes
    media_type: str
    made_s: float
    life_s: float
    is_truncated: bool = False


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
