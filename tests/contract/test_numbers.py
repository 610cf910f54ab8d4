"""Query results whose every digit is known: sums, percentiles and local times."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import pytest
from clickhouse_connect.driver.client import Client

from metrics_api.endpoints.endpoint import QueryResult
from metrics_api.endpoints.metrics import plan_metrics
from metrics_api.errors import ParameterError
from metrics_api.query.query_string import Parameters
from metrics_api.serving.formats import ARROW, CSV, render
from storage.clickhouse.writer import Writer
from storage.tables.schema import EVENTS_TABLE
from tests.contract.test_storage import RECEIVED_US, event, table

Connect = Callable[[], Client]
FLOAT_MAX = 1.7976931348623157e308


def ask(connected: Connect, *pairs: tuple[str, str]) -> QueryResult:
    """Run a metrics query of the events that `store` stored."""
    plan = plan_metrics(Parameters(urlencode([("event_name", "e"), *pairs])), RECEIVED_US * 2)
    client = connected()
    return plan.result(
        [client.query(s.sql, parameters=s.parameters).result_rows for s in plan.statements]
    )


def measured(connected: Connect, *measures: str) -> dict[str, Any]:
    """Return the measures, after a check that JSON, CSV and Arrow have the same ones."""
    result = ask(connected, *(("measure", measure) for measure in measures))
    found: dict[str, Any] = result.document["measures"]
    [row] = pa.ipc.open_stream(render(result, ARROW)).read_all().to_pylist()
    texts = render(result, CSV).decode().splitlines()[1].split(",")[2:]
    assert [row[measure] for measure in measures] == list(found.values())
    for text, value in zip(texts, found.values(), strict=True):
        assert (type(value)(text) if text else None) == value
    return found


def store(connected: Connect, *values: float, **fields: Any) -> None:
    """Store an event for each value of `param.v`, in three inserts and in random order."""
    events = [
        event(id=f"{n}", event_params=[{"key": "v", "number_value": value}], **fields)
        for n, value in enumerate(values)
    ]
    random.Random(len(values)).shuffle(events)
    writer = Writer(connected, EVENTS_TABLE)
    for part in range(3):
        if events[part::3]:
            writer.write(table(events[part::3]), token=f"{random.random()}")


@pytest.mark.parametrize(
    ("values", "total", "average"),
    [
        ([0.1] * 10, 1.0, 0.1),
        ([0.1] * 3, 0.3, 0.1),
        ([19.99, 0.01, -20.0], 0.0, 0.0),
        ([4.35] * 1000, 4350.0, 4.35),
        ([1e16, 1.0, -1e16], 1.0, 1 / 3),
        ([1e308, 1e308, 1e308], FLOAT_MAX, 1e308),
        ([-1e308, -1e308], -FLOAT_MAX, -1e308),
        ([1e308, 1e308, -1e308], 1e308, 3.3333333333333333e307),
        ([1e308, 5e-324, -1e308], 5e-324, 0.0),
        ([5e-324] * 3, 1.5e-323, 5e-324),
        ([2.5e-323, -5e-324], 2e-323, 1e-323),
        ([-0.0, -0.0], 0.0, 0.0),
        ([1e-7] * 10, 1e-6, 1e-7),
        ([2.0**53, 1.0, 1.0], 2.0**53 + 2, 3002399751580331.5),
        ([8e9 + 0.25, 0.25], 8000000000.5, 4000000000.25),
    ],
)
def test_sums_are_exact_and_never_infinite(
    connected: Connect, values: list[float], total: float, average: float
) -> None:
    store(connected, *values)
    found = measured(connected, "sum:param.v", "avg:param.v", "min:param.v", "max:param.v")
    assert list(found.values()) == [total, average, min(values), max(values)]
    assert "-0.0" not in str(found)


def test_revenue_is_exact_to_a_millionth_and_quantity_to_one(connected: Connect) -> None:
    items = [{"revenue_in_usd": 0.1, "quantity": 2**53 + 1}, {"revenue_in_usd": 0.2}]
    store(connected, *[1.0] * 10, items=items)
    found = measured(connected, "revenue", "avg:revenue", "max:revenue", "quantity")
    assert found == {
        "revenue": 3.0, "avg:revenue": 0.3, "max:revenue": 0.3, "quantity": 10 * (2**53 + 1)
    }  # fmt: skip
    groups = ask(connected, ("group_by", "item_id"), ("measure", "revenue")).document
    assert groups["grouped_metrics"][0]["measures"] == {"revenue": 3.0}


def test_a_quantity_beyond_64_bits_is_refused(connected: Connect) -> None:
    store(connected, 1.0, 1.0, items=[{"quantity": 2**62}])
    with pytest.raises(ParameterError, match="beyond 64 bits"):
        measured(connected, "quantity")
    assert measured(connected, "avg:quantity", "max:quantity") == {
        "avg:quantity": 2.0**62, "max:quantity": 2**62
    }  # fmt: skip


def test_no_number_is_null(connected: Connect) -> None:
    Writer(connected, EVENTS_TABLE).write(table([event(id="1")]), token="none")
    names = ("sum:param.v", "avg:param.v", "median:param.v", "revenue", "quantity", "avg:quantity")
    assert set(measured(connected, *names).values()) == {None}


def test_both_zeros_are_one_group(connected: Connect) -> None:
    store(connected, 0.0, -0.0, 0.0)
    groups = ask(connected, ("group_by", "param.v")).document["grouped_metrics"]
    assert [(group["group_key"], group["total_count"]) for group in groups] == [("0", 3)]


@pytest.mark.parametrize("approximate", ["true", "false"])
@pytest.mark.parametrize(
    ("count", "ranks"),
    [  # count of the values 1, 2, ... count; percentile to the rank it must have
        (100, {"p1": 1, "p28": 28, "p29": 29, "p50": 50, "p99": 99, "p99.9": 100, "p100": 100}),
        (4, {"p1": 1, "p25": 1, "p26": 2, "median": 2, "p75": 3, "p76": 4}),
        (2, {"median": 1, "p51": 2}), (20, {"p5": 1, "p95": 19, "p95.1": 20}),
        (1000, {"p0.1": 1, "p0.2": 2, "p99.9": 999, "p99.901": 1000, "p7": 70, "p56": 560}),
    ],
)  # fmt: skip
def test_percentiles_are_the_nearest_rank(
    connected: Connect, approximate: str, count: int, ranks: dict[str, int]
) -> None:
    store(connected, *map(float, range(1, count + 1)))
    measures = [("measure", f"{percentile}:param.v") for percentile in ranks]
    found = ask(connected, *measures, ("approximate", approximate)).document["measures"]
    assert found == {f"{percentile}:param.v": rank for percentile, rank in ranks.items()}


def test_an_integer_that_no_float_is_finds_no_event(connected: Connect) -> None:
    store(connected, 2.0**53)
    assert ask(connected, ("param.v", "9007199254740992")).document["total_count"] == 1
    assert ask(connected, ("param.v", "9007199254740993")).document["total_count"] == 0
    with pytest.raises(ParameterError):
        ask(connected, ("param.v>", "9007199254740993"))


@pytest.mark.parametrize(
    ("zone", "day", "hours", "offsets"),
    [
        # Rules of 2026: clocks are not set back in November any more.
        ("America/Vancouver", "2026-11-01", 24, {"-0700"}),
        ("America/Vancouver", "2026-11-21", 24, {"-0700"}),
        ("America/Winnipeg", "2026-11-01", 24, {"-0500"}),
        ("America/Coyhaique", "2025-07-01", 24, {"-0300"}),
        ("America/New_York", "2026-11-01", 25, {"-0400", "-0500"}),
        ("Europe/Berlin", "2024-03-31", 23, {"+0100", "+0200"}),
        ("Africa/Cairo", "2024-04-26", 23, {"+0300"}),
        ("Asia/Kathmandu", "2024-04-26", 24, {"+0545"}),
    ],
)
def test_a_local_day_is_one_group_and_has_its_hours(
    connected: Connect, zone: str, day: str, hours: int, offsets: set[str]
) -> None:
    start = datetime.fromisoformat(day).replace(tzinfo=UTC) - timedelta(days=1)
    events = [
        event(id=f"{n}", date=(start + timedelta(minutes=15 * n)).isoformat()) for n in range(300)
    ]
    Writer(connected, EVENTS_TABLE).write(table(events), token=day + zone)
    bounds = [("from", day), ("to", day), ("tz", zone)]
    for group_by, key in (("daily", day), ("monthly", day[:7])):
        groups = ask(connected, *bounds, ("group_by", group_by)).document["grouped_metrics"]
        assert [(g["group_key"], g["total_count"]) for g in groups] == [(key, hours * 4)]
    for fill in ("true", "false"):
        document = ask(connected, *bounds, ("interval", "hour"), ("fill", fill)).document
        assert [point["total_count"] for point in document["series"]] == [4] * hours
        assert {point["time"][-5:] for point in document["series"]} == offsets


def test_the_last_instant_that_is_taken_is_in_2300_further_east(connected: Connect) -> None:
    events = [event(id="1", date="2299-12-31T23:59:59.9999999Z")]
    Writer(connected, EVENTS_TABLE).write(table(events), token="last")
    for group_by, key in (
        ("daily", "2300-01-01"), ("weekly", "2300-01-01"), ("monthly", "2300-01"),
        ("hourly", "2300-01-01 08:00:00+0900"),
    ):  # fmt: skip
        pairs = [("to", "2299-12-31T23:59:59.999999Z"), ("tz", "Asia/Tokyo")]
        groups = ask(connected, *pairs, ("group_by", group_by)).document["grouped_metrics"]
        assert [group["group_key"] for group in groups] == [key]
