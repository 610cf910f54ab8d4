"""Answers: computed once for all who ask at the same time, and given up when nobody waits."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import CollectorRegistry

from metrics_api.errors import QueryTimeoutError
from metrics_api.instruments import QueryInstruments
from metrics_api.serving.cache import CachedResponse, MemoryCache
from metrics_api.serving.single_flight import SingleFlightCache


class Asked:
    """A question that takes until it is let go; counts how often it was begun and given up."""

    def __init__(self, *, life_s: float = 60) -> None:
        self.begun = self.cancelled = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None
        self._life_s = life_s

    async def make(self) -> CachedResponse:
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
    """Returns how often each result was counted."""
    registry = CollectorRegistry()
    answers = SingleFlightCache(MemoryCache(bytes_max=1000), QueryInstruments(registry))

    async def main() -> None:
        await test(answers)

    asyncio.run(main())
    return {
        sample.labels["result"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "event_stream_query_cache_total"
    }


def test_who_asks_the_same_at_the_same_time_shares_one_answer() -> None:
    async def test(answers: SingleFlightCache) -> None:
        asked = Asked()
        waiting = [asyncio.create_task(answers.get("k", asked.make)) for _ in range(10)]
        await asyncio.sleep(0)
        asked.go.set()
        assert {reply.body for reply in await asyncio.gather(*waiting)} == {b"1"}
        assert (await answers.get("k", asked.make)).body == b"1"
        assert asked.begun == 1

    assert run(test) == {"miss": 1, "shared": 9, "hit": 1}


def test_one_who_leaves_takes_nothing_from_the_others() -> None:
    async def test(answers: SingleFlightCache) -> None:
        asked = Asked()
        first = asyncio.create_task(answers.get("k", asked.make))
        second = asyncio.create_task(answers.get("k", asked.make))
        await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.sleep(0.01)
        asked.go.set()
        assert (await second).body == b"1"
        assert asked.cancelled == 0

    run(test)


def test_when_the_last_one_leaves_the_work_stops_and_the_next_begins_anew() -> None:
    async def test(answers: SingleFlightCache) -> None:
        asked = Asked()
        waiting = [asyncio.create_task(answers.get("k", asked.make)) for _ in range(3)]
        await asyncio.sleep(0.01)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.sleep(0)
        assert asked.cancelled == 1
        asked.go.set()
        assert (await answers.get("k", asked.make)).body == b"2"

    run(test)


def test_an_error_reaches_all_who_wait_and_is_not_kept() -> None:
    async def test(answers: SingleFlightCache) -> None:
        asked = Asked()
        asked.error = QueryTimeoutError("slow")
        waiting = [asyncio.create_task(answers.get("k", asked.make)) for _ in range(3)]
        asked.go.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in found] == [QueryTimeoutError] * 3
        asked.error = None
        assert (await answers.get("k", asked.make)).body == b"2"

    run(test)


def test_who_must_not_get_an_older_answer_gets_one_of_their_own() -> None:
    async def test(answers: SingleFlightCache) -> None:
        asked = Asked()
        asked.go.set()
        assert (await answers.get("k", asked.make)).body == b"1"
        assert (await answers.renew("k", asked.make)).body == b"2"
        assert (await answers.get("k", asked.make)).body == b"2"

    assert run(test) == {"miss": 1, "bypass": 1, "hit": 1}


@pytest.mark.parametrize("life_s", [0, 0.001])
def test_an_answer_is_given_out_no_longer_than_it_lives(life_s: float) -> None:
    async def test(answers: SingleFlightCache) -> None:
        asked = Asked(life_s=life_s)
        asked.go.set()
        await answers.get("k", asked.make)
        await asyncio.sleep(0.002)
        assert (await answers.get("k", asked.make)).body == b"2"

    run(test)
