"""Tests of zones, ranges and comparisons, with times that were looked up by hand."""

from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest

from metrics_api.calendar.moments import Unit
from metrics_api.calendar.zones import offsets_between, zone_names, zone_of
from metrics_api.endpoints.endpoint import Rows
from metrics_api.endpoints.metrics import plan_metrics
from metrics_api.endpoints.retention import plan_retention
from metrics_api.errors import ParameterError
from metrics_api.query.query_string import Parameters
from metrics_api.query.times import Range, parse_range

NOW = datetime(2024, 4, 3, 10, 30, tzinfo=UTC)  # a Wednesday
NOW_US = int(NOW.timestamp()) * 1_000_000


def parsed(buckets: Unit | None = None, **pairs: str) -> Range:
    """Parse the range of a request at `NOW`. A trailing `_` of a name is removed."""
    query = urlencode({name.rstrip("_"): value for name, value in pairs.items()})
    return parse_range(Parameters(query), now_us=NOW_US, buckets=buckets)


def seconds(text: str) -> int:
    """Return the Unix time of an instant."""
    return int(datetime.fromisoformat(text).timestamp())


@pytest.mark.parametrize(
    ("zone", "at", "offset"),
    [
        # British Columbia stays seven hours behind UTC (tzdata 2026b), Manitoba five (2026f).
        ("America/Vancouver", "2026-10-31T00:00:00Z", "-0700"),
        ("America/Vancouver", "2026-11-02T00:00:00Z", "-0700"),
        ("America/Winnipeg", "2026-11-02T00:00:00Z", "-0500"),
        ("America/Winnipeg", "2025-11-03T00:00:00Z", "-0600"),
        ("America/Coyhaique", "2025-07-01T00:00:00Z", "-0300"),
        ("Europe/Berlin", "2024-03-31T00:59:59Z", "+0100"),
        ("Europe/Berlin", "2024-03-31T01:00:00Z", "+0200"),
        ("Europe/Berlin", "2250-07-01T00:00:00Z", "+0200"),
        ("Australia/Lord_Howe", "2024-04-06T15:00:00Z", "+1030"),
        ("Asia/Kolkata", "1970-01-01T00:00:00Z", "+0530"),
        ("UTC", "2024-01-01T00:00:00Z", "+0000"),
    ],
)
def test_offsets_are_those_of_the_pinned_rules(zone: str, at: str, offset: str) -> None:
    offsets = offsets_between(zone, seconds(at), seconds(at))
    assert offsets.texts == (offset,)


@pytest.mark.parametrize("zone", sorted(zone_names())[::7])
def test_offsets_change_when_those_of_python_do(zone: str) -> None:
    start, end = seconds("1975-01-01T00:00:00Z"), seconds("2045-01-01T00:00:00Z")
    offsets = offsets_between(zone, start, end)
    assert list(offsets.starts_s) == sorted(set(offsets.starts_s))
    for start_s, ahead_s in zip(offsets.starts_s, offsets.seconds, strict=True):
        moment = datetime.fromtimestamp(start_s, zone_of(zone))
        assert moment.utcoffset().total_seconds() == ahead_s  # type: ignore[union-attr]
    for number, at in enumerate(range(start, end, 86_400 * 11)):
        ahead = datetime.fromtimestamp(at, zone_of(zone)).utcoffset()
        place = max(sum(start_s <= at for start_s in offsets.starts_s) - 1, 0)
        assert ahead is not None, number
        assert offsets.seconds[place] == ahead.total_seconds()


@pytest.mark.parametrize(
    ("first", "last", "zone", "start", "end"),
    [
        ("2024-03-31", "2024-03-31", "Europe/Berlin", "2024-03-30T00:00:00+01:00",
         "2024-03-30T23:59:59+01:00"),
        ("2024-04-01", "2024-04-07", "Europe/Berlin", "2024-03-25T00:00:00+01:00",
         "2024-03-31T23:59:59+02:00"),
        ("2024-03-01", "2024-03-31", "Europe/Berlin", "2024-02-01T00:00:00+01:00",
         "2024-02-29T23:59:59+01:00"),
        ("2024-02-01", "2024-02-29", "UTC", "2024-01-01T00:00:00Z", "2024-01-31T23:59:59Z"),
        ("2024-04-01", "2024-06-30", "UTC", "2024-01-01T00:00:00Z", "2024-03-31T23:59:59Z"),
        ("2024-01-01", "2024-12-31", "UTC", "2023-01-01T00:00:00Z", "2023-12-31T23:59:59Z"),
        # The clock is set forward at midnight, so the day begins at one o'clock.
        ("2024-04-26", "2024-04-26", "Africa/Cairo", "2024-04-25T00:00:00+02:00",
         "2024-04-25T23:59:59+02:00"),
        ("2024-04-27", "2024-04-27", "Africa/Cairo", "2024-04-26T01:00:00+03:00",
         "2024-04-26T23:59:59+03:00"),
        # Whole days as programs write them.
        ("2024-03-31T00:00:00+01:00", "2024-03-31T23:59:59.999+02:00", "Europe/Berlin",
         "2024-03-30T00:00:00+01:00", "2024-03-30T23:59:59+01:00"),
        # Not whole days: the range before has the same length.
        ("2024-03-31T00:00:00+01:00", "2024-03-31T11:59:59.999999+02:00", "Europe/Berlin",
         "2024-03-30T13:00:00+01:00", "2024-03-30T23:59:59+01:00"),
    ],
)  # fmt: skip
def test_the_range_before_a_range(first: str, last: str, zone: str, start: str, end: str) -> None:
    found = parsed(from_=first, to=last, tz=zone).compared("previous")
    assert found.document() == {"from": start, "to": end}


@pytest.mark.parametrize(
    ("first", "last", "start", "end"),
    [
        ("2025-02-01", "2025-02-28", "2024-02-01T00:00:00Z", "2024-02-29T23:59:59Z"),
        ("2024-02-29", "2024-02-29", "2023-02-28T00:00:00Z", "2023-02-28T23:59:59Z"),
        ("2024-02-28", "2024-02-28", "2023-02-28T00:00:00Z", "2023-02-28T23:59:59Z"),
        ("2024-03-04", "2024-03-10", "2023-03-04T00:00:00Z", "2023-03-10T23:59:59Z"),
    ],
)
def test_the_range_a_year_before_a_range(first: str, last: str, start: str, end: str) -> None:
    found = parsed(from_=first, to=last).compared("year")
    assert found.document() == {"from": start, "to": end}


@pytest.mark.parametrize(
    ("last", "buckets", "start"),
    [
        ("7d", None, "2024-03-27T10:30:00Z"),
        ("7d", "day", "2024-03-28T00:00:00Z"),
        ("7d", "hour", "2024-03-27T11:00:00Z"),
        ("24h", "hour", "2024-04-02T11:00:00Z"),
        ("90min", "minute", "2024-04-03T09:01:00Z"),
        ("2w", "week", "2024-03-25T00:00:00Z"),
        ("3mo", "month", "2024-02-01T00:00:00Z"),
        ("1y", "month", "2023-05-01T00:00:00Z"),
        ("7d", "week", "2024-03-27T10:30:00Z"),  # a week is longer than the days asked for
    ],
)
def test_last_has_whole_buckets(last: str, buckets: Unit | None, start: str) -> None:
    assert parsed(buckets, last=last).document()["from"] == start


@pytest.mark.parametrize(
    ("last", "buckets", "start", "end"),
    [
        ("7d", None, "2024-03-20T10:30:00Z", "2024-03-27T10:29:59Z"),
        ("7d", "day", "2024-03-21T00:00:00Z", "2024-03-27T10:30:00Z"),
        ("1mo", "month", "2024-03-01T00:00:00Z", "2024-03-03T10:30:00Z"),
        ("24h", "hour", "2024-04-01T11:00:00Z", "2024-04-02T10:30:00Z"),
    ],
)
def test_last_is_compared_with_the_same_part_of_the_time_before(
    last: str, buckets: Unit | None, start: str, end: str
) -> None:
    assert parsed(buckets, last=last).compared("previous").document() == {"from": start, "to": end}


@pytest.mark.parametrize("zone", ["localtime", "posixrules", "../zones", "Europe", "", "europe/x"])
def test_a_zone_is_one_of_the_list(zone: str) -> None:
    if not zone:
        assert parsed(tz=zone).zone == "UTC"
        return
    with pytest.raises(ParameterError):
        parsed(tz=zone)


def test_seven_days_are_seven_points() -> None:
    pairs = [("event_name", "n"), ("last", "7d"), ("interval", "day"), ("fill", "true")]
    plan = plan_metrics(Parameters(urlencode(pairs)), NOW_US)
    rows: Rows = [(0, 0, 0, "", 0, 0)]
    series = plan.result([rows]).document["series"]
    assert [point["time"] for point in series] == [
        "2024-03-28", "2024-03-29", "2024-03-30", "2024-03-31", "2024-04-01", "2024-04-02",
        "2024-04-03",
    ]  # fmt: skip


@pytest.mark.parametrize("other", ["true", "false"])
def test_days_beyond_the_limit_are_not_shown_as_days_without_events(other: str) -> None:
    pairs = [
        ("event_name", "n"), ("last", "7d"), ("group_by", "daily"), ("fill", "true"),
        ("limit", "1"), ("other", other),
    ]  # fmt: skip
    plan = plan_metrics(Parameters(urlencode(pairs)), NOW_US)
    rows: Rows = [
        (0, 0, 0, "", "", 12, 3), (1, 0, 0, "2024-03-28", "", 5, 1), (1, 0, 1, "", "", 7, 2),
    ]  # fmt: skip
    document = plan.result([rows]).document
    counts = {each["group_key"]: each["total_count"] for each in document["grouped_metrics"]}
    assert counts == {"2024-03-28": 5} | ({"other": 7} if other == "true" else {})
    assert document["truncated"]


def test_times_with_an_offset_stand_before_the_other_group() -> None:
    pairs = [
        ("event_name", "n"), ("last", "7d"), ("group_by", "hourly"), ("tz", "Asia/Tokyo"),
        ("limit", "2"), ("other", "true"),
    ]  # fmt: skip
    plan = plan_metrics(Parameters(urlencode(pairs)), NOW_US)
    first, second = "2024-03-28 09:00:00+09:00", "2024-03-28 10:00:00+09:00"
    rows: Rows = [
        (0, 0, 0, "", "", 12, 3), (1, 0, 1, "", "", 7, 2), (1, 0, 0, second, "", 3, 1),
        (1, 0, 0, first, "", 2, 1),
    ]  # fmt: skip
    groups = plan.result([rows]).document["grouped_metrics"]
    assert [each["group_key"] for each in groups] == [first, second, "other"]


@pytest.mark.parametrize(
    ("period", "zone", "now", "began", "retained"),
    [
        ("day", "UTC", NOW, 19_814, [5, 0, 0, None]),  # 2024-04-01
        ("day", "Asia/Tokyo", NOW.replace(hour=16), 19_814, [5, 0, 0, 0]),
        ("week", "UTC", NOW, 2_830, [5, 0, None, None]),  # the Monday 2024-03-25
        ("month", "UTC", NOW, 650, [5, 0, None, None]),  # 2024-03
    ],
)
def test_a_period_that_has_not_begun_has_no_number(
    period: str, zone: str, now: datetime, began: int, retained: list[int | None]
) -> None:
    pairs = {"from": "2024-01-01", "period": period, "periods": "4", "tz": zone}
    now_us = int(now.timestamp()) * 1_000_000
    plan = plan_retention(Parameters(urlencode(pairs)), now_us)
    result = plan.result([[(began, 0, 5)]])
    assert result.document["cohorts"][0]["retained"] == retained
    assert [row[2] for row in result.rows] == retained
