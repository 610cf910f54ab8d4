"""Where replies are kept for a short while: in this process, or in Redis (redis_cache.py).

A cache never fails: what it can't find or keep is computed again.
"""

import time
from collections.abc import Callable
from typing import Protocol

import msgspec
from cachetools import TLRUCache


class CachedResponse(msgspec.Struct, frozen=True):
    """made_s: Unix time; life_s: how long it may be given out; is_truncated: its list goes on."""

    body: bytes
    media_type: str
    made_s: float
    life_s: float
    is_truncated: bool = False


class Cache(Protocol):
    async def get(self, key: str) -> CachedResponse | None: ...

    async def put(self, key: str, response: CachedResponse) -> None: ...

    async def close(self) -> None: ...


class MemoryCache:
    """Of this process; the least recently used response goes first."""

    def __init__(self, *, bytes_max: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._responses: TLRUCache[str, CachedResponse] = TLRUCache(
            bytes_max,
            ttu=lambda _, response, now: now + response.life_s,
            timer=clock,
            getsizeof=lambda response: len(response.body),
        )

    async def get(self, key: str) -> CachedResponse | None:
        return self._responses.get(key)

    async def put(self, key: str, response: CachedResponse) -> None:
        if len(response.body) <= self._responses.maxsize:
            self._responses[key] = response

    async def close(self) -> None:
        self._responses.clear()
