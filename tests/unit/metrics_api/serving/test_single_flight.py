"""Tests that equal queries are computed once, and cancelled when no caller waits any more."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import CollectorRegistry

from metrics_api.errors import QueryTimeoutError
from metrics_api.instruments import QueryInstruments
from metrics_api.serving.cache import CachedResponse, MemoryCache
from metrics_api.serving.single_flight import SingleFlightCache


class FakeComputation:
    """A fake computation that runs until `go` is set.

    Attributes:
        begun: how often it was started.
        cancelled: how often it was cancelled.
        go: lets it end.
        error: raised at the end, if not None.
    """

    def __init__(self, *, life_s: float = 60) -> None:
        """Return responses that may be cached for `life_s`."""
        self.begun = self.cancelled = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None
        self._life_s = life_s

    async def make(self) -> CachedResponse:
        """Return a response whose body is the number of this computation."""
        self.begun += 1
        number = self.begun
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return CachedResponse(b"%d" % number, "text/plain", 0, self._life_s)


def run(test: Callable[[SingleFlightCache], Awaitable[None]]) -> dict[str, float]:
    """Run a test with a new cache, and return how often each cache result was counted."""
    registry = CollectorRegistry()
    responses = SingleFlightCache(MemoryCache(bytes_max=1000), QueryInstruments(registry))

    async def main() -> None:
        await test(responses)

    asyncio.run(main())
    return {
        sample.labels["result"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "event_stream_query_cache_total"
    }


def test_equal_queries_at_the_same_time_share_one_response() -> None:
    async def test(responses: SingleFlightCache) -> None:
        computation = FakeComputation()
        waiting = [asyncio.create_task(responses.get("k", computation.make)) for _ in range(10)]
        await asyncio.sleep(0)
        computation.go.set()
        assert {response.body for response in await asyncio.gather(*waiting)} == {b"1"}
        assert (await responses.get("k", computation.make)).body == b"1"
        assert computation.begun == 1

    assert run(test) == {"miss": 1, "shared": 9, "hit": 1}


def test_a_cancelled_caller_does_not_cancel_the_others() -> None:
    async def test(responses: SingleFlightCache) -> None:
        computation = FakeComputation()
        first = asyncio.create_task(responses.get("k", computation.make))
        second = asyncio.create_task(responses.get("k", computation.make))
        await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.sleep(0.01)
        computation.go.set()
        assert (await second).body == b"1"
        assert computation.cancelled == 0

    run(test)


def test_the_last_cancelled_caller_cancels_the_computation_and_the_next_starts_anew() -> None:
    async def test(responses: SingleFlightCache) -> None:
        computation = FakeComputation()
        waiting = [asyncio.create_task(responses.get("k", computation.make)) for _ in range(3)]
        await asyncio.sleep(0.01)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.sleep(0)
        assert computation.cancelled == 1
        computation.go.set()
        assert (await responses.get("k", computation.make)).body == b"2"

    run(test)


def test_an_error_reaches_all_callers_and_is_not_cached() -> None:
    async def test(responses: SingleFlightCache) -> None:
        computation = FakeComputation()
        computation.error = QueryTimeoutError("slow")
        waiting = [asyncio.create_task(responses.get("k", computation.make)) for _ in range(3)]
        computation.go.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in found] == [QueryTimeoutError] * 3
        computation.error = None
        assert (await responses.get("k", computation.make)).body == b"2"

    run(test)


def test_renew_computes_a_response_even_if_one_is_cached() -> None:
    async def test(responses: SingleFlightCache) -> None:
        computation = FakeComputation()
        computation.go.set()
        assert (await responses.get("k", computation.make)).body == b"1"
        assert (await responses.renew("k", computation.make)).body == b"2"
        assert (await responses.get("k", computation.make)).body == b"2"

    assert run(test) == {"miss": 1, "bypass": 1, "hit": 1}


@pytest.mark.parametrize("life_s", [0, 0.001])
def test_a_response_is_not_used_after_its_life(life_s: float) -> None:
    async def test(responses: SingleFlightCache) -> None:
        computation = FakeComputation(life_s=life_s)
        computation.go.set()
        await responses.get("k", computation.make)
        await asyncio.sleep(0.002)
        assert (await responses.get("k", computation.make)).body == b"2"

    run(test)
