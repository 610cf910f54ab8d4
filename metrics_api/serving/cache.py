"""Caches of responses: the interface, and one in the memory of this process.

`redis_cache` has the one in Redis. A cache raises no errors. A response that it can't find or store
is computed again.
"""

import time
from collections.abc import Callable
from typing import Protocol

import msgspec
from cachetools import TLRUCache


class CachedResponse(msgspec.Struct, frozen=True):
    """A response with the time for which it may be used.

    Attributes:
        body: body of the response.
        media_type: media type of the body.
        made_s: Unix time at which its query was sent.
        life_s: how long it may be used, in seconds.
        is_truncated: whether its list was cut off at the limit.
    """

    body: bytes
    media_type: str
    made_s: float
    life_s: float
    is_truncated: bool = False


class Cache(Protocol):
    """Stores responses by key until they expire."""

    async def get(self, key: str) -> CachedResponse | None:
        """Return the response of a key, or None if there is none or it has expired."""

    async def put(self, key: str, response: CachedResponse) -> None:
        """Store a response for its `life_s`."""

    async def close(self) -> None:
        """Release all resources."""


class MemoryCache:
    """A cache in the memory of this process. It evicts the least recently used response first."""

    def __init__(self, *, bytes_max: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Start empty.

        Args:
            bytes_max: maximum size of all bodies together. A larger body is not stored.
            clock: monotonic, in seconds.
        """
        self._responses: TLRUCache[str, CachedResponse] = TLRUCache(
            bytes_max,
            ttu=lambda _, response, now: now + response.life_s,
            timer=clock,
            getsizeof=lambda response: len(response.body),
        )

    async def get(self, key: str) -> CachedResponse | None:
        """Return the response of a key, or None if there is none or it has expired."""
        return self._responses.get(key)

    async def put(self, key: str, response: CachedResponse) -> None:
        """Store a response for its `life_s`."""
        if len(response.body) <= self._responses.maxsize:
            self._responses[key] = response

    async def close(self) -> None:
        """Drop all responses."""
        self._responses.clear()
