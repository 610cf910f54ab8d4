"""Random queries over random events, compared with plain Python over the same events.

The events include duplicates and late events, and their days those on which clocks are set.
"""

import os
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from clickhouse_connect.driver.client import Client

from metrics_api.endpoints.endpoint import QueryPlan, QueryResult
from metrics_api.endpoints.funnel import plan_funnel
from metrics_api.endpoints.metrics import plan_metrics
from metrics_api.endpoints.retention import plan_retention
from metrics_api.query.query_string import Parameters
from storage.clickhouse.writer import Writer
from storage.tables.schema import EVENTS_TABLE
from tests.contract import plain
from tests.contract.plain import MetricsQuery
from tests.contract.test_storage import RECEIVED_US, table

NOW_US = RECEIVED_US * 2
DATASETS, QUERIES = int(os.environ.get("QUERY_RESULT_DATASETS", "8")), 145
"""Sets of events, and metrics queries of each set. Each other test has a quarter as many queries.

QUERY_RESULT_DATASETS=5 uses each of STARTS once.
"""
# Only the embedded engine: a server is the same engine behind HTTP, with the same results.
pytestmark = pytest.mark.parametrize("dsn", ["embedded"], indirect=True, scope="session")
NAMES = ["buy", "view", "it's \\ {a:String} 100%", "日本"]
ZONES = ["UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns"]
# Rules of 2026, which many databases lack: clocks are not set back in November any more.
ZONES += ["America/Vancouver", "America/Winnipeg"]
# Around changes of clocks in Berlin, and in Lord Howe, where the clock moves by half an hour.
STARTS = [datetime(2024, 10, 26, 20, tzinfo=UTC), datetime(2024, 4, 6, 10, tzinfo=UTC)]
STARTS += [datetime(2024, 12, 29, tzinfo=UTC), datetime(2024, 3, 30, 22, tzinfo=UTC)]
STARTS += [datetime(2026, 10, 31, 10, tzinfo=UTC)]
SYSTEMS = ["iOS", "Android", "", "Win'dows", "100%_"]
GROUPS = [
    "channel", "minute", "hourly", "daily", "weekly", "monthly", "os", "country", "event_name",
    "user", "param.v", "param.t", "user_param.plan", "item_id", "item_brand", "app_id",
]  # fmt: skip
MEASURES = [
    "revenue", "quantity", "events_per_user", "sum:param.v", "avg:param.v", "min:param.v",
    "max:revenue", "median:param.v", "p90:param.v", "p99.9:quantity", "p100:param.v",
    "avg:revenue", "avg:quantity", "min:quantity",
]  # fmt: skip
NUMBERS = [0, 1, 2.5, -3, 50, 0.1, 0.2, 1 / 3, -0.0, 5e-324, 1e-7, -0.3, 19.99]
HUGE = [*NUMBERS, 1e308, -1e308, 1.7976931348623157e308, 2**53, 1e18]
"""Sums of these lie near the largest float and beyond."""


def random_event(
    rng: random.Random, number: int, start: datetime, values: list[float]
) -> dict[str, Any]:
    """Make an event in the three days after `start`, with numbers from `values`."""
    at = start + timedelta(seconds=rng.randrange(3 * 86_400), microseconds=number)
    event: dict[str, Any] = {
        "id": f"e{number}",
        "name": rng.choice(NAMES[: rng.choice((1, 2, 4))]),
        "channel_type": rng.choice(["web", "mobile", "tv"]),
        "date": at.isoformat(),
        "event_params": [],
    }
    if rng.random() < 0.5:
        event["user_id"] = rng.choice(["u1", "u2", "u3"])
    if rng.random() < 0.6:
        event["user_pseudo_id"] = rng.choice(["p1", "p2", "u1"])
    if rng.random() < 0.8:
        event["device"] = {"operating_system": rng.choice(SYSTEMS)}
    if rng.random() < 0.5:
        event["geo"] = {"country": rng.choice(["Sweden", "Österreich"])}
    if rng.random() < 0.3:
        event["app_info"] = {"id": "shop"}
    if rng.random() < 0.8:
        event["event_params"].append({"key": "v", "number_value": rng.choice(values)})
    kind = rng.choice([None, "string_value", "boolean_value", "number_value"])
    if kind is not None:
        value = {"string_value": rng.choice(["x", "xy", "2.5", ""]), "boolean_value": True}
        event["event_params"].append({"key": "t", kind: value.get(kind, 2.5)})
    if rng.random() < 0.3:
        event["event_params"].append(
            {"key": "v", "number_value": 1000}
        )  # only the first one counts
    if rng.random() < 0.4:
        event["user_params"] = [{"key": "plan", "string_value": rng.choice(["pro", "free"])}]
    if rng.random() < 0.6:
        event["items"] = [
            {
                "id": rng.choice(["i1", "i2", "i3"]),
                "brand": rng.choice(["Acme", "Brand", None]),
                "revenue_in_usd": rng.choice([None, 0, 9.5, 20, 0.1, 0.7, *values[-2:]]),
                "quantity": rng.choice([None, 0, 1, 3, 2**53 + 1]),
            }
            for _ in range(rng.randrange(4))
        ]
    return event


def random_query(rng: random.Random, start: datetime) -> MetricsQuery:
    """Make a metrics query of the events after `start`."""
    names = rng.sample(NAMES, rng.choice((1, 1, 2, 4)))
    query = MetricsQuery(names, tz=rng.choice(ZONES))
    if rng.random() < 0.7:
        query.start = start + timedelta(seconds=rng.randrange(-100, 2 * 86_400))
        query.end = query.start + timedelta(seconds=rng.choice([0, 3600, 40_000, 3 * 86_400]))
    query.groups = rng.sample(GROUPS, rng.choice((0, 1, 1, 2, 3)))
    percentile = f"p{rng.choice((1, 25, 28, 29, 75, rng.randrange(100), 99.999))}:param.v"
    query.measures = rng.sample([*MEASURES, percentile], rng.choice((0, 0, 1, 3)))
    if rng.random() < 0.3 and not set(query.groups) & set(plain.TIMES):
        query.interval = rng.choice(["minute", "hour", "day", "week", "month"])
    for _ in range(rng.choice((0, 0, 1, 2))):
        query.filters.append(random_filter(rng, {f[0] for f in query.filters}))
    query.order = rng.choice(["key", "key", "total_count", "unique_user_count", *query.measures])
    query.descending = rng.random() < 0.5
    # A limit cuts times in the order of their names. An hour that occurs twice breaks that order.
    if rng.random() < 0.4 and not {"minute", "hourly"} & set(query.groups):
        query.limit = rng.choice((1, 2, 5))
        query.other = rng.random() < 0.7
    # Approximate results are exact for so few users. Without measures they would come from the
    # rollups, which have a test of their own.
    query.approximate = rng.random() < 0.3 and bool(query.measures)
    return query


def random_filter(rng: random.Random, taken: set[str]) -> tuple[str, str, list[str]]:
    """Make a filter (dimension, operator, values) by a dimension that is not in `taken`."""
    known = {
        "channel": ["web", "mobile"], "os": [*SYSTEMS, "i", "n"], "user": ["u1", "p1", ""],
        "param.t": ["x", "true", "2.5", "2.50", "", "'"], "param.v": ["50", "0", "1e0", "-3"],
        "user_param.plan": ["pro", ""], "item_id": ["i1", "i2", ""],
        "item_brand": ["Acme", "", "B"],
        "country": ["Sweden", "Ö"], "event_name": NAMES,
    }  # fmt: skip
    dimension = rng.choice([name for name in known if name not in taken and name != "event_name"])
    if dimension.startswith("param.") and rng.random() < 0.5:
        return (dimension, rng.choice([">=", "<=", ">", "<"]), [rng.choice(["0", "2.5", "-1e3"])])
    operator = rng.choice(["=", "!=", "^=", "!^=", "*=", "!*="])
    return (dimension, operator, rng.sample(known[dimension], rng.choice((1, 1, 2))))


def store(
    connected: Callable[[], Client],
    rng: random.Random,
    start: datetime,
    sizes: tuple[int, ...] = (30, 150, 400),
) -> list[Any]:
    """Store random events, some of them twice, and return each once, with its time under `at`."""
    values = rng.choice([NUMBERS, HUGE])
    events = [random_event(rng, number, start, values) for number in range(rng.choice(sizes))]
    sent = events + rng.sample(events, len(events) // 4)
    rng.shuffle(sent)
    writer = Writer(connected, EVENTS_TABLE)
    token = rng.random()
    for part in range(3):
        rows = sent[part::3]
        writer.write(table(rows, received_us=RECEIVED_US + part), token=f"{token}-{part}")
    return [{**event, "at": datetime.fromisoformat(event["date"])} for event in events]


def run(client: Client, plan: QueryPlan) -> QueryResult:
    """Run a query plan."""
    settings = {"do_not_merge_across_partitions_select_final": 1}
    return plan.result(
        [
            client.query(s.sql, parameters=s.parameters, settings=settings).result_rows
            for s in plan.statements
        ]
    )


def comparable(document: dict[str, Any], groups: list[str]) -> dict[str, Any]:
    """Return a document in the shape of `plain.metrics`."""
    names = ("total_count", "unique_user_count", "measures", "series", "truncated")
    result = {name: document[name] for name in names if name in document}
    if "grouped_metrics" in document:
        result["grouped_metrics"] = [
            {
                "key": "other"
                if group.get("other")
                else tuple(group["group"].values())
                if len(groups) > 1
                else (group["group_key"],),
                **comparable(group, []),
            }
            for group in document["grouped_metrics"]
        ]
    return result


@pytest.mark.parametrize("seed", range(DATASETS))
def test_metrics_are_what_plain_python_counts(connected: Callable[[], Client], seed: int) -> None:
    rng = random.Random(seed)
    start = STARTS[seed % len(STARTS)]
    events = store(connected, rng, start)
    client = connected()
    for _ in range(QUERIES):
        query = random_query(rng, start)
        plan = plan_metrics(Parameters(urlencode(query.pairs())), NOW_US)
        found = comparable(run(client, plan).document, query.groups)
        assert found == plain.metrics(events, query), query


@pytest.mark.parametrize("seed", range(DATASETS))
def test_rollups_are_what_plain_python_counts(connected: Callable[[], Client], seed: int) -> None:
    rng = random.Random(seed)
    start = STARTS[seed % len(STARTS)]
    events = store(connected, rng, start, sizes=(30, 100))  # so few that sketches are exact
    client = connected()
    for _ in range(QUERIES // 4):
        query = random_query(rng, start)
        query.tz, query.measures, query.order, query.approximate = "UTC", [], "total_count", True
        query.filters = [("channel", "!=", ["tv"])] if rng.random() < 0.3 else []
        query.groups = rng.sample(["channel", "event_name", "daily"], rng.choice((0, 1, 2)))
        query.interval = None if "daily" in query.groups else rng.choice([None, "hour", "month"])
        plan = plan_metrics(Parameters(urlencode(query.pairs())), NOW_US)
        assert "uniqCombined64Merge" in plan.statements[0].sql
        found = comparable(run(client, plan).document, query.groups)
        assert found == plain.metrics(events, query), query


@pytest.mark.parametrize("seed", range(DATASETS))
def test_whole_days_and_months_are_compared_with_as_many_before(
    connected: Callable[[], Client], seed: int
) -> None:
    rng = random.Random(seed)
    start = STARTS[seed % len(STARTS)]
    events = store(connected, rng, start)
    client = connected()
    for _ in range(QUERIES // 4):
        tz, unit = rng.choice(ZONES), rng.choice(["hour", "day"])
        first = start.date() + timedelta(days=rng.randrange(-1, 5))
        days = rng.choice((1, 2, 7))
        if rng.random() < 0.2:
            first = (first + timedelta(days=4)).replace(day=1)
            days = 31 if first.month == 1 else 30
        last = first + timedelta(days=days - 1)
        pairs = [("event_name", name) for name in NAMES]
        pairs += [("from", f"{first}"), ("to", f"{last}"), ("tz", tz), ("interval", unit)]
        pairs += [("fill", "true"), ("compare", "previous")]
        document = run(client, plan_metrics(Parameters(urlencode(pairs)), NOW_US)).document
        begin, end = plain.range_before(first, days, tz)
        found = document["compare"]
        assert datetime.fromisoformat(found["from"]) == begin, pairs
        assert datetime.fromisoformat(found["to"]) == end - timedelta(seconds=1), pairs
        query = MetricsQuery(NAMES, begin, end - timedelta(microseconds=1), tz, interval=unit)
        expected = plain.metrics(events, query)
        assert found["total_count"] == expected["total_count"], pairs
        points = [point for point in found["series"] if point["total_count"]]
        assert points == expected["series"], pairs
        hours = (end - begin) // timedelta(hours=1)
        assert unit == "day" or abs(len(found["series"]) - hours) <= 1, pairs
        names = {
            (begin + timedelta(hours=n)).astimezone(plain.zone(tz)).date() for n in range(hours)
        }
        assert unit == "hour" or [p["time"] for p in found["series"]] == sorted(map(str, names))


@pytest.mark.parametrize("seed", range(DATASETS))
def test_funnels_are_what_plain_python_finds(connected: Callable[[], Client], seed: int) -> None:
    rng = random.Random(seed)
    events = store(connected, rng, STARTS[seed % len(STARTS)])
    client = connected()
    for _ in range(QUERIES // 4):
        steps = [rng.choice(NAMES) for _ in range(rng.choice((2, 3)))]
        window = timedelta(hours=rng.choice((1, 5, 48)))
        group = rng.choice([None, "os", "channel"])
        pairs = [("step", quote(step)) for step in steps]
        pairs += [("window", f"{window // timedelta(hours=1)}h"), ("group_by", group or "")]
        document = run(client, plan_funnel(Parameters(urlencode(pairs)), NOW_US)).document
        expected = plain.funnel(events, steps, window, group)
        if group is None:
            found = {"": [step["users"] for step in document["steps"]]}
            assert found == (expected or {"": [0] * len(steps)}), (steps, window)
        else:
            found = {
                entry["group_key"]: [step["users"] for step in entry["steps"]]
                for entry in document["grouped_steps"]
            }
            assert found == expected, (steps, window, group)


@pytest.mark.parametrize("seed", range(DATASETS))
def test_retention_is_what_plain_python_finds(connected: Callable[[], Client], seed: int) -> None:
    rng = random.Random(seed)
    start = STARTS[seed % len(STARTS)]
    events = store(connected, rng, start)
    client = connected()
    for _ in range(QUERIES // 4):
        names = [rng.choice([None, *NAMES]) for _ in range(2)]
        unit, tz = rng.choice(["day", "week", "month"]), rng.choice(ZONES)
        pairs = [("from", "2024-01-01T00:00:00Z"), ("period", unit), ("tz", tz), ("periods", "10")]
        pairs += [("first_event", names[0] or ""), ("return_event", names[1] or "")]
        document = run(client, plan_retention(Parameters(urlencode(pairs)), NOW_US)).document
        expected = plain.retention(events, *names, unit, tz)
        found = {
            cohort["cohort"]: [count for count in cohort["retained"] if count]
            for cohort in document["cohorts"]
        }
        assert found == {
            period: [row[later] for later in sorted(row)] for period, row in expected.items()
        }, (names, unit, tz)
