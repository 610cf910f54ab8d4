"""Which rows a question is about, as SQL: the part that all questions share."""

from metrics_api.query.dimensions import ITEM_COLUMNS
from metrics_api.query.measures import ITEM_NUMBERS
from metrics_api.query.params import Selection
from metrics_api.query.statement import Bindings
from metrics_api.query.times import Range
from storage.tables.schema import EVENTS_TABLE, KEY_TIME_UNKNOWN_US

TIME_MAX_US = 10_413_791_999_999_999
"""The last instant that a DateTime64 column holds: the end of 2299."""
KEY_HOURS_END_US = 2**32 * 1_000_000
"""The hours in the sort key have 32 bits of seconds, and begin anew in 2106. ClickHouse 25.8 takes
no notice when it prunes: a range that reaches beyond must not be pruned by them."""
EVENT = "name, key_time, id"
"""What tells an event from all others, once copies are collapsed."""

_UNKNOWN = f"fromUnixTimestamp64Micro({KEY_TIME_UNKNOWN_US}, 'UTC')"
_ITEM_JOIN = ", ".join(
    [f"{column} AS {name}" for name, column in ITEM_COLUMNS.items()]
    + [f"{column} AS item_{name}" for name, column in ITEM_NUMBERS.items()]
)


def select_rows(
    selection: Selection, columns: str, bindings: Bindings, *, items: bool = False
) -> str:
    """SELECT of `columns` and the `user_hash`, a row for each event; when `items`, a row for each
    item of it, or one without any.

    A month is the same in every copy of an event, so FINAL need not look across months: the
    settings of every query say so.
    """
    conditions = within(selection.range, bindings) + named_and_filtered(selection, bindings)
    join = f" LEFT ARRAY JOIN {_ITEM_JOIN}" if items else ""
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {columns}, user_hash FROM {EVENTS_TABLE} FINAL{join}{where}"


def named_and_filtered(selection: Selection, bindings: Bindings) -> list[str]:
    """All that a selection says but its range."""
    conditions = [filter_.condition(bindings) for filter_ in selection.filters]
    if selection.names:
        # As a list of one, too: `=` and IN of a constant use the sort key alike.
        conditions.append(f"name IN {bindings.texts(selection.names)}")
    return conditions


def within(bounds: Range, bindings: Bindings) -> list[str]:
    """The bounds on the event time, and the same on the sort key, which prunes.

    The key's time is the event's own, but for an event whose time is that of its arrival and must
    not be in the key: there it is a constant.
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
