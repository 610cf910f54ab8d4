"""Responses from the cache. Equal queries that run at the same time are computed once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from metrics_api.instruments import QueryInstruments
from metrics_api.serving.cache import Cache, CachedResponse

Make = Callable[[], Awaitable[CachedResponse]]
"""Computes a response."""


@dataclass(slots=True)
class _Flight:
    """A running computation, and the number of callers that wait for it."""

    task: asyncio.Task[CachedResponse]
    waiting: int = 0


class SingleFlightCache:
    """A cache that computes missing responses, each of them only once at a time."""

    def __init__(self, cache: Cache, instruments: QueryInstruments) -> None:
        """Wrap a cache.

        Args:
            cache: stores the responses.
            instruments: count the queries by how they were answered.
        """
        self._cache = cache
        self._instruments = instruments
        self._flights: dict[str, _Flight] = {}

    async def get(self, key: str, make: Make) -> CachedResponse:
        """Return the response of a key, from the cache or computed.

        The computation is cancelled if all callers that wait for it are cancelled.

        Args:
            key: key of the response.
            make: computes it. What `make` raises is raised in all callers that wait for it.
        """
        response = await self._cache.get(key)
        if response is not None:
            self._instruments.cache("hit")
            return response
        flight = self._flights.get(key)
        self._instruments.cache("miss" if flight is None else "shared")
        if flight is None:
            flight = _Flight(asyncio.create_task(self._make(key, make)))
            self._flights[key] = flight
            flight.task.add_done_callback(lambda _: self._land(key, flight))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._land(key, flight)
                flight.task.cancel()
                self._instruments.abandoned()

    async def renew(self, key: str, make: Make) -> CachedResponse:
        """Compute the response of a key anew, even if the cache has one, and store it."""
        self._instruments.cache("bypass")
        return await self._make(key, make)

    async def close(self) -> None:
        """Close the cache."""
        await self._cache.close()

    async def _make(self, key: str, make: Make) -> CachedResponse:
        response = await make()
        if response.life_s > 0:
            await self._cache.put(key, response)
        return response

    def _land(self, key: str, flight: _Flight) -> None:
        """Forget a flight, so that the next caller starts a new one."""
        if self._flights.get(key) is flight:
            del self._flights[key]
