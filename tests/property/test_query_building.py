"""No input becomes SQL text: every value is bound, every identifier is from a closed list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_api.errors import ParameterError
from metrics_api.params import GROUPS, PARAMETERS, Query, parse_query
from metrics_api.sql import build_sql

NOW_US = 1_800_000_000_000_000
TEXTS = st.text(max_size=30) | st.sampled_from(
    ["' OR 1=1 --", "{event_name:String}", "); DROP TABLE events;", "channel'", "\\", "`", "\0"]
)
INSTANTS = st.sampled_from(
    ["2024-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999+14:00",
     "2024-02-30T00:00:00Z", "1969-12-31T23:59:59-12:00", "2024-01-01T00:00:00 05:30"]
) | TEXTS  # fmt: skip
PARAMETERS_SENT = st.fixed_dictionaries(
    {"event_name": TEXTS},
    optional={
        "from": INSTANTS,
        "to": INSTANTS,
        "group_by": st.sampled_from(GROUPS) | TEXTS,
        "consistency": TEXTS,
        "limit": TEXTS,
    },
)
TEMPLATES = {
    build_sql(parse_query({"event_name": "x", **start, **group}, now_us=NOW_US))[0]
    for start in ({}, {"from": "2024-01-01T00:00:00Z"})
    for group in ({}, *({"group_by": name} for name in GROUPS))
}


@given(PARAMETERS_SENT)
def test_whatever_is_sent_the_sql_is_one_of_a_few_templates(parameters: dict) -> None:
    try:
        query = parse_query(parameters, now_us=NOW_US)
    except ParameterError:
        return
    sql, bound = build_sql(query)
    assert sql in TEMPLATES
    assert bound["event_name"] == parameters["event_name"]
    assert all(isinstance(value, str | int) for value in bound.values())


@given(st.dictionaries(st.sampled_from(PARAMETERS), st.lists(TEXTS, min_size=2), min_size=1))
def test_a_parameter_given_twice_is_refused(parameters: dict) -> None:
    with pytest.raises(ParameterError):
        parse_query({"event_name": "x", **parameters}, now_us=NOW_US)


@given(st.integers(0, 10**16), st.integers(0, 10**16))
def test_bounds_stay_within_what_the_columns_hold(start_us: int, end_us: int) -> None:
    from metrics_api.params import Instant

    query = Query("x", Instant(start_us, ""), Instant(end_us, ""), None, "eventual")
    _, bound = build_sql(query)
    assert 0 <= bound["start"] < 10_413_792_000_000_000
    assert bound["end"] < 10_413_792_000_000_000
