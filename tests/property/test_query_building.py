"""No input becomes part of the SQL: values are bound, and identifiers are from closed lists."""

from urllib.parse import urlencode

from hypothesis import event, given
from hypothesis import strategies as st

from ingest.event.arrow import TABLE_SCHEMA
from ingest.event.from_row import restore
from metrics_api.endpoints.endpoint import QueryPlan
from metrics_api.endpoints.events import Cursor, events_endpoint
from metrics_api.errors import ParameterError
from metrics_api.query.dimensions import KNOWN
from metrics_api.query.filters import NUMBER_OPERATORS, TEXT_OPERATORS
from metrics_api.query.params import parse_query
from metrics_api.query.query_string import Parameters
from metrics_api.query.selection import TIME_MAX_US, within
from metrics_api.query.statement import Bindings
from metrics_api.routes import ENDPOINTS

NOW_US = 1_800_000_000_000_000
MARK = "ß"
"""A character that every text sent contains, and no SQL of ours."""
ALL_ENDPOINTS = {**ENDPOINTS, "events": events_endpoint(TABLE_SCHEMA, restore)}

TEXTS = st.builds(
    lambda before, after: before + MARK + after,
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
    | st.sampled_from(["' OR 1=1 --", "{v0:String}", "); DROP TABLE events;", "\\", "`", "%s"]),
)
INSTANTS = st.sampled_from(
    ["2024-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999+14:00",
     "2024-02-30", "2024-02-29", "1969-12-31T23:59:59-12:00", "2024-01-01T00:00:00 05:30"]
) | TEXTS  # fmt: skip
NUMBERS = st.integers(-5, 20_000).map(str) | st.floats().map(str)
DIMENSIONS = (
    st.sampled_from([name for name in KNOWN if "<" not in name])
    | TEXTS.map("param.{}".format)
    | TEXTS.map("user_param.{}".format)
    | TEXTS
)
OPERATORS = st.sampled_from([*TEXT_OPERATORS, *NUMBER_OPERATORS])
FILTERS = st.builds(
    lambda dimension, operator, value: (
        (dimension + operator[:-1], value)
        if operator.endswith("=")
        else (dimension + operator + value, "")
    ),
    DIMENSIONS,
    OPERATORS,
    TEXTS | NUMBERS | st.just(""),
)
MEASURES = st.builds(
    lambda function, number: f"{function}:{number}",
    st.sampled_from(["sum", "avg", "p50", "p99.9", "median", "p0.001"]) | TEXTS,
    DIMENSIONS | st.sampled_from(["revenue", "quantity"]),
) | st.sampled_from(["revenue", "events_per_user"])
CURSORS = st.builds(
    lambda us, id_, name: Cursor(us, id_, name).text(),
    st.integers(-(2**63), 2**64 - 1),
    TEXTS,
    TEXTS,
)
PAIRS = st.lists(
    st.tuples(st.sampled_from(["from", "to"]), INSTANTS)
    | st.tuples(st.just("group_by"), DIMENSIONS)
    | st.tuples(st.just("dimension"), DIMENSIONS)
    | st.tuples(st.just("measure"), MEASURES)
    | st.tuples(st.just("order"), MEASURES | st.sampled_from(["key", "-total_count"]))
    | st.tuples(st.sampled_from(["limit", "periods"]), NUMBERS | TEXTS)
    | st.tuples(st.just("interval"), st.sampled_from(["day", "hour"]) | TEXTS)
    | st.tuples(st.just("tz"), st.sampled_from(["Asia/Kolkata", "UTC"]) | TEXTS)
    | st.tuples(st.just("last"), st.sampled_from(["7d", "3mo"]) | TEXTS)
    | st.tuples(st.sampled_from(["approximate", "other", "fill"]), st.sampled_from(["true", "x"]))
    | st.tuples(st.sampled_from(["id", "first_event", "return_event"]), TEXTS)
    | st.tuples(st.just("window"), st.just("2h") | TEXTS)
    | st.tuples(st.just("cursor"), CURSORS | TEXTS)
    | FILTERS,
    max_size=4,
)


def plan_of(endpoint: str, pairs: list[tuple[str, str]]) -> QueryPlan | None:
    """Return the query plan of an endpoint, or None if the parameters are refused."""
    try:
        return ALL_ENDPOINTS[endpoint](Parameters(urlencode(pairs)), NOW_US)
    except ParameterError:
        return None


@given(st.sampled_from(sorted(ALL_ENDPOINTS)), st.lists(TEXTS, min_size=2, max_size=3), PAIRS)
def test_no_text_that_is_sent_is_in_the_sql(
    endpoint: str, texts: list[str], pairs: list[tuple[str, str]]
) -> None:
    names = "step" if endpoint == "funnel" else "event_name"
    if endpoint != "retention":
        pairs = [(names, text) for text in texts] + pairs
    plan = plan_of(endpoint, pairs)
    event(f"{endpoint} {'refused' if plan is None else 'planned'}")
    if plan is None:
        return
    for statement in plan.statements:
        assert MARK not in statement.sql
        assert statement.sql.isascii()
        for value in statement.parameters.values():
            assert isinstance(value, str | int | float | list)


@given(st.integers(0, 10**16), st.integers(0, 10**16))
def test_bounds_stay_within_what_the_columns_hold(start_us: int, end_us: int) -> None:
    from metrics_api.query.times import Instant, Range

    bindings = Bindings()
    within(Range(Instant(start_us, ""), Instant(end_us, "")), bindings)
    assert all(0 <= us <= TIME_MAX_US + 1 for us in bindings.values.values())


@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=3))
def test_values_are_bound_as_they_were_sent(name: str, values: list[str]) -> None:
    pairs = [("event_name", name), *(("os", value) for value in values)]
    query = parse_query(Parameters(urlencode(pairs)), now_us=NOW_US)
    assert query.selection.names == (name,)
    assert query.selection.filters[0].values == tuple(values)
