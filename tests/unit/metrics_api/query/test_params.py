"""Tests of query parameters as clients write them."""

import pytest

from metrics_api.errors import ParameterError
from metrics_api.query.filters import Filter
from metrics_api.query.params import LIMIT_DEFAULT, Query, parse_query
from metrics_api.query.query_string import Parameters
from metrics_api.query.times import parse_instant

NOW_US = 1_711_884_600_000_000
"""2024-03-31T11:30:00Z. In Berlin, the clock was set forward on this morning."""


def parsed(query_string: str, *, now_us: int = NOW_US) -> Query:
    """Parse a metrics query of the events named `e`."""
    return parse_query(Parameters("event_name=e&" + query_string), now_us=now_us)


def filters(query_string: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return (dimension, operator, values) of each filter."""
    found: tuple[Filter, ...] = parsed(query_string).selection.filters
    return [(f.dimension.name, f.operator, f.values) for f in found]


def bounds(query_string: str) -> tuple[str, str]:
    """Return `from` and `to` as the query result prints them."""
    document = parsed(query_string).selection.range.document()
    return document["from"], document["to"]


@pytest.mark.parametrize(
    ("text", "us", "printed"),
    [
        ("2024-01-15T10:00:00Z", 1_705_312_800_000_000, "2024-01-15T10:00:00Z"),
        ("2024-01-15t10:00:00z", 1_705_312_800_000_000, "2024-01-15T10:00:00Z"),
        ("2024-01-15T10:00:00.5Z", 1_705_312_800_500_000, "2024-01-15T10:00:00.5Z"),
        ("2024-01-15T10:00:00+01:00", 1_705_309_200_000_000, "2024-01-15T10:00:00+01:00"),
        ("2024-01-15T10:00:00 01:00", 1_705_309_200_000_000, "2024-01-15T10:00:00+01:00"),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000_000, "0001-01-01T00:00:00Z"),
    ],
)
def test_an_instant_is_read_and_printed_in_its_offset(text: str, us: int, printed: str) -> None:
    instant = parse_instant("from", text)
    assert (instant.us, instant.text) == (us, printed)


@pytest.mark.parametrize(
    "text", ["", "2024", "2024-01", "2024-02-30", "2024-01-15T10:00:00", "now", "1e9"]
)
def test_an_error_about_an_instant_names_the_parameter(text: str) -> None:
    with pytest.raises(ParameterError, match="Query parameter from"):
        parse_instant("from", text)


def test_empty_parameters_are_as_if_left_out() -> None:
    query = parsed("from=&group_by=&limit=", now_us=5_000_000)
    assert (query.selection.range.start, query.groups, query.limit) == (None, (), None)
    assert query.selection.range.end.us == 5_000_000
    assert bounds("from=")[0] == "0001-01-01T00:00:00Z"


def test_a_day_is_a_whole_day_of_its_zone() -> None:
    query = parsed("from=2024-03-31&to=2024-03-31&tz=Europe/Berlin")
    start, end = query.selection.range.start, query.selection.range.end
    assert start is not None
    assert end.us - start.us == 23 * 3_600_000_000 - 1  # the clock was set forward
    assert bounds("from=2024-03-31&to=2024-03-31&tz=Europe/Berlin") == (
        "2024-03-31T00:00:00+01:00",
        "2024-03-31T23:59:59+02:00",
    )


@pytest.mark.parametrize(
    ("last", "start"),
    [
        ("90min", "2024-03-31T12:00:00+02:00"),
        ("12h", "2024-03-31T00:30:00+01:00"),
        ("1d", "2024-03-30T13:30:00+01:00"),
        ("2w", "2024-03-17T13:30:00+01:00"),
        ("1mo", "2024-02-29T13:30:00+01:00"),
        ("1y", "2023-03-31T13:30:00+02:00"),
    ],
)
def test_the_last_days_end_now_at_the_same_time_of_day(last: str, start: str) -> None:
    assert bounds(f"last={last}&tz=Europe/Berlin") == (start, "2024-03-31T13:30:00+02:00")


def test_a_range_is_compared_with_the_one_before_and_with_a_year_ago() -> None:
    query = "from=2024-02-28T00:00:00Z&to=2024-02-29T23:59:59Z&compare="
    before = parsed(query + "previous").compared()
    year = parsed(query + "year").compared()
    assert before is not None
    assert year is not None
    assert before.selection.range.document() == {
        "from": "2024-02-26T00:00:00Z",
        "to": "2024-02-27T23:59:59Z",
    }
    assert before.selection.range.end.us == parsed(query).selection.range.start.us - 1  # type: ignore[union-attr]
    assert year.selection.range.document() == {
        "from": "2023-02-28T00:00:00Z",
        "to": "2023-02-28T23:59:59Z",
    }


def test_operators_are_told_from_values() -> None:
    assert filters("os=iOS&os!=x&os^=i&os!^=A&os*=n&os!*=z") == [
        ("os", operator, (value,))
        for operator, value in (
            ("=", "iOS"), ("!=", "x"), ("^=", "i"), ("!^=", "A"), ("*=", "n"), ("!*=", "z")
        )
    ]  # fmt: skip
    assert filters("param.depth>=50&param.depth<90&user_param.age>18&param.x<=1e3") == [
        ("param.depth", ">=", ("50",)),
        ("param.depth", "<", ("90",)),
        ("user_param.age", ">", ("18",)),
        ("param.x", "<=", ("1e3",)),
    ]
    assert filters("channel=web&channel=mobile&platform=tv&country=") == [
        ("channel", "=", ("web", "mobile")),
        ("platform", "=", ("tv",)),
        ("country", "=", ("",)),
    ]


@pytest.mark.parametrize(
    ("query_string", "message"),
    [
        ("color=red", "'color' is not known: known are .*event_name, .*, user_param.<key>"),
        ("group_by=color", "group_by names 'color'.*there are minute, .*, param.<key>"),
        ("group_by=os&group_by=os", "each once"),
        ("group_by=minute,hourly,daily,weekly,monthly,os", "5 dimensions at most"),
        ("daily=2024-01-15", "use from and to"),
        ("os>5", "only for param.<key> and user_param.<key>"),
        ("param.x>=many", "needs a number"),
        ("param.x>=nan", "needs a number"),
        ("param.=1", "is not known"),
        ("tz=Mars/Olympus", "IANA"),
        ("tz=../../etc/passwd", "IANA"),
        ("last=7", "such as 7d"),
        ("last=7d&from=2024-01-01", "stands alone"),
        ("last=999999y", "before the year 1"),
        ("from=2024-01-02&to=2024-01-01", "not be later"),
        ("compare=previous", "needs from or last"),
        ("compare=year&from=0001-01-01T00:00:00Z", "before the year 1"),
        ("measure=sum:os", "measure"),
        ("measure=p101:param.x", "measure"),
        ("measure=sum:param.", "measure"),
        ("order=revenue", "order must be one of key, total_count"),
        ("limit=0", "from 1 to 10000"),
        ("limit=-1", "from 1 to 10000"),
        ("limit=1.5", "from 1 to 10000"),
        ("fill=true", "fill needs interval"),
        ("fill=yes", "fill must be one of"),
        ("interval=hour&group_by=daily", "does not go with"),
        ("interval=week&interval=day", "given once"),
        ("consistency=maybe", "consistency must be one of"),
        ("os=%00", "NUL"),
        ("&".join("os=x" for _ in range(200)), "100 query parameters"),
    ],
)
def test_an_error_says_what_is_wrong(query_string: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        parsed(query_string).compared()


def test_groups_without_bounds_of_their_own_have_a_limit() -> None:
    assert parsed("group_by=os").limit == LIMIT_DEFAULT
    assert parsed("group_by=channel,daily").limit is None
    assert parsed("group_by=user&limit=7").limit == 7


def test_a_key_of_a_param_may_have_a_comma_in_it() -> None:
    query = parsed("group_by=param.a,b&group_by=os,channel")
    assert [group.name for group in query.groups] == ["param.a,b", "os", "channel"]
