"""Replies from the cache, or computed: once for all who ask the same at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from metrics_api.instruments import QueryInstruments
from metrics_api.serving.cache import Cache, CachedResponse

Make = Callable[[], Awaitable[CachedResponse]]


@dataclass(slots=True)
class _Flight:
    task: asyncio.Task[CachedResponse]
    waiting: int = 0


class SingleFlightCache:
    def __init__(self, cache: Cache, instruments: QueryInstruments) -> None:
        self._cache = cache
        self._instruments = instruments
        self._flights: dict[str, _Flight] = {}

    async def get(self, key: str, make: Make) -> CachedResponse:
        """The response under `key`. When all who wait for it are cancelled, so is making it.

        Raises what `make` raises.
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
        """A response made now, for one who must not get an older one. Raises what `make` raises."""
        self._instruments.cache("bypass")
        return await self._make(key, make)

    async def close(self) -> None:
        await self._cache.close()

    async def _make(self, key: str, make: Make) -> CachedResponse:
        response = await make()
        if response.life_s > 0:
            await self._cache.put(key, response)
        return response

    def _land(self, key: str, flight: _Flight) -> None:
        """Whoever comes from now on starts anew."""
        if self._flights.get(key) is flight:
            del self._flights[key]
