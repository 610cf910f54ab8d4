"""SQL that selects the events of a query. All endpoints share it."""

from metrics_api.query.dimensions import ITEM_COLUMNS
from metrics_api.query.measures import ITEM_NUMBERS
from metrics_api.query.params import Selection
from metrics_api.query.statement import Bindings
from metrics_api.query.times import Range
from storage.tables.schema import EVENTS_TABLE, KEY_TIME_UNKNOWN_US

TIME_MAX_US = 10_413_791_999_999_999
"""The last instant that a DateTime64 column holds: the end of 2299."""
KEY_HOURS_END_US = 2**32 * 1_000_000
"""The hours in the sort key are 32-bit seconds, which wrap around in 2106.

ClickHouse 25.8 ignores that when it prunes. So a range that reaches beyond must not be pruned by
hours.
"""
EVENT = "name, key_time, id"
"""Columns that identify an event, once copies are collapsed."""

_UNKNOWN = f"fromUnixTimestamp64Micro({KEY_TIME_UNKNOWN_US}, 'UTC')"
_ITEM_JOIN = ", ".join(
    [f"{column} AS {name}" for name, column in ITEM_COLUMNS.items()]
    + [f"{column} AS item_{name}" for name, column in ITEM_NUMBERS.items()]
)


def select_rows(
    selection: Selection, columns: str, bindings: Bindings, *, items: bool = False
) -> str:
    """Build a SELECT of `columns` and `user_hash`, with one row for each event.

    FINAL collapses the copies of an event. All copies are in the same month, so the settings of
    every query tell FINAL not to look across months.

    Args:
        selection: events to look at.
        columns: SQL of the columns.
        bindings: takes the bound values.
        items: whether each item of an event has a row instead. An event without items has one row.
    """
    conditions = within(selection.range, bindings) + named_and_filtered(selection, bindings)
    join = f" LEFT ARRAY JOIN {_ITEM_JOIN}" if items else ""
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {columns}, user_hash FROM {EVENTS_TABLE} FINAL{join}{where}"


def named_and_filtered(selection: Selection, bindings: Bindings) -> list[str]:
    """Build the SQL conditions of the names and filters of a selection."""
    conditions = [filter_.condition(bindings) for filter_ in selection.filters]
    if selection.names:
        # One name is a list too: `=` and IN with a constant use the sort key in the same way.
        conditions.append(f"name IN {bindings.texts(selection.names)}")
    return conditions


def within(bounds: Range, bindings: Bindings) -> list[str]:
    """Build the SQL conditions of a range.

    The event time is compared, and also the time in the sort key, so that ClickHouse can prune.
    Both times are the same, except for events that state no time. Their event time is the time of
    arrival, which differs between copies, and the time in the sort key is a constant.
    """
    has_key = bounds.end.us < KEY_HOURS_END_US
    conditions = []
    if bounds.start is not None:
        start_us = min(max(bounds.start.us, 0), TIME_MAX_US + 1)
        conditions += _bound(">=", start_us, bindings, has_key=has_key)
    end_us = min(max(bounds.end.us, -1), TIME_MAX_US)
    return conditions + _bound("<=", end_us, bindings, has_key=has_key)


def _bound(operator: str, us: int, bindings: Bindings, *, has_key: bool) -> list[str]:
    bound = bindings.instant(us)
    conditions = [f"event_time {operator} {bound}"]
    if has_key:
        conditions.append(f"(key_time {operator} {bound} OR key_time = {_UNKNOWN})")
    return conditions
