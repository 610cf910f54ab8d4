"""A response, cached or not, has every event that its age and its watermark promise."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import falcon.asgi
import orjson
from falcon import testing
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from metrics_api.endpoints.endpoint import QueryPlan, QueryResult
from metrics_api.instruments import QueryInstruments
from metrics_api.query.query_string import Parameters
from metrics_api.query.statement import Statement
from metrics_api.query.times import parse_range, us_of
from metrics_api.serving.cache import MemoryCache
from metrics_api.serving.resources import QueryContext, QueryResource
from metrics_api.serving.single_flight import SingleFlightCache

SECOND_US = 1_000_000
START_US = 1_700_000_000 * SECOND_US
OPEN_S, CLOSED_S = 2, 30


@dataclass(slots=True)
class Event:
    """An acknowledged event.

    Attributes:
        time_us: event time, not later than the time of arrival.
        received_us: time of arrival.
        flushed_us: when it became queryable, None if it is not yet.
    """

    time_us: int
    received_us: int
    flushed_us: int | None = None


@dataclass(slots=True)
class FakeWorld:
    """A clock and the acknowledged events. It takes the place of a Reader and of a Freshness."""

    now_us: int = START_US
    events: list[Event] = field(default_factory=list)

    async def query(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Return the index of each flushed event in the range."""
        first, last = parameters["first"], parameters["last"]
        return [
            (index,)
            for index, event in enumerate(self.events)
            if event.flushed_us is not None and first <= event.time_us <= last
        ]

    async def flush(self, *, timeout_s: float = 0) -> None:
        """Make all events queryable."""
        for event in self.events:
            event.flushed_us = event.flushed_us or self.now_us

    async def watermark_us(self) -> int:
        """Return the time of arrival of the first event that is not flushed, or the present."""
        waiting = [event.received_us for event in self.events if event.flushed_us is None]
        return min([self.now_us, *waiting])


def indexes(parameters: Parameters, now_us: int) -> QueryPlan:
    """An endpoint that returns the indexes of the events in a range."""
    parameters.choice("consistency", ("eventual", "flushed"))
    bounds = parse_range(parameters, now_us=now_us)
    first = bounds.start.us if bounds.start is not None else 0
    statement = Statement("", {"first": first, "last": bounds.end.us})

    def result(rows: Sequence[Sequence[Sequence[Any]]]) -> QueryResult:
        found = [index for [index] in rows[0]]
        return QueryResult({"found": found, "first": first, "last": bounds.end.us}, {}, [])

    return QueryPlan([statement], result, bounds.end.us)


def instant(us: int) -> str:
    """Return an instant as clients write it."""
    return datetime.fromtimestamp(us / SECOND_US).astimezone().isoformat()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.integers(1, 3_000)),
        st.tuples(st.just("pass"), st.integers(1, 40_000)),
        st.tuples(st.just("receive"), st.sampled_from([0, 0, 0, 500, 20_000])),
        st.tuples(st.just("flush"), st.just(0)),
        st.tuples(st.just("ask"), st.sampled_from(["", "last=1h", "to=0", "to=-1", "to=1500"])),
        st.tuples(st.just("ask flushed"), st.sampled_from(["", "to=0"])),
    ),
    max_size=40,
)
"""The steps of a run. Numbers are ms.

`pass` lets time pass. `receive` acknowledges an event that is late by the number. `to=` of `ask` is
relative to the start of the run, or to the last event that was received.
"""


@given(steps)
def test_a_response_has_every_event_that_its_age_and_watermark_promise(run: list[Any]) -> None:
    asyncio.run(live(run))


async def live(run: list[Any]) -> None:
    """Take all steps of a run."""
    world = FakeWorld()
    resource = QueryResource("indexes", indexes, context_of(world))
    texts = {"to=0": world.now_us}
    for what, value in run:
        world.now_us += 1_000
        if what == "pass":
            world.now_us += value * 1_000
        elif what == "receive":
            world.events.append(Event(world.now_us - value * 1_000, world.now_us))
            # A client that has just sent this event asks for the range until now.
            texts["to=0"] = world.now_us
        elif what == "flush":
            await world.flush()
        else:
            if value.startswith("to="):
                value = f"to={instant(texts['to=0'] + int(value[3:]) * 1_000)}"
            if what == "ask flushed":
                value += "&consistency=flushed"
            await check(world, resource, value)


def context_of(world: FakeWorld) -> QueryContext:
    """Make a context whose clock, reader and freshness are those of `world`."""
    cache = MemoryCache(bytes_max=1 << 20, clock=lambda: world.now_us / SECOND_US)
    instruments = QueryInstruments(CollectorRegistry())
    return QueryContext(
        reader=world,  # type: ignore[arg-type]
        responses=SingleFlightCache(cache, instruments),
        freshness=world,
        instruments=instruments,
        now_us=lambda: world.now_us,
        flush_timeout_s=1,
        open_s=OPEN_S,
        closed_s=CLOSED_S,
    )


async def check(world: FakeWorld, resource: QueryResource, query: str) -> None:
    """Send a query, and check that its response lacks no event that it must have."""
    request = testing.create_asgi_req(query_string=query.replace("+", "%2B"))
    response = falcon.asgi.Response()
    await resource.on_get(request, response)
    document = orjson.loads(response.data or b"")
    age_s = int(response.get_header("Age") or "")
    left_s = int((response.get_header("Cache-Control") or "").rpartition("=")[2])
    watermark_us = us_of(datetime.fromisoformat(document["watermark"]))
    # The age is rounded down to seconds.
    made_us = world.now_us - (age_s + 1) * SECOND_US
    is_closed = document["last"] < watermark_us
    assert age_s + left_s <= (CLOSED_S if is_closed else OPEN_S)
    if "flushed" in query:
        made_us = watermark_us = world.now_us
    for index, event in enumerate(world.events):
        if not document["first"] <= event.time_us <= document["last"]:
            continue
        is_late = event.time_us < event.received_us
        flushed_us = event.flushed_us
        must_be_there = event.received_us < watermark_us or (
            flushed_us is not None
            and (
                flushed_us <= made_us
                # Only late events can be missing if the range was closed when the query ran.
                or (not is_late and flushed_us < world.now_us - (OPEN_S + 1) * SECOND_US)
            )
        )
        assert index in document["found"] or not must_be_there
