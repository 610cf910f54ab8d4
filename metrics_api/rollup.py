"""The rollup: what `approximate=true` is answered from, where that has all that is asked for.

Whole hours come from the rollup's states, the parts of hours at both ends of the range from the
events themselves; the states of both are merged.
"""

from metrics_api.params import Query, Selection
from metrics_api.selection import TIME_MAX_US, within
from metrics_api.statement import Bindings
from metrics_api.times import UTC_NAME, Instant, Range
from storage.rollups import PRECISION, ROLLUP_TABLE, STATES, STATES_BY
from storage.schema import EVENTS_TABLE

HOUR_US = 3_600_000_000
DIMENSIONS = ("channel", "platform", "event_name", "hourly", "daily", "weekly", "monthly")
ROLLUP_AGGREGATES = {
    "total_count": f"uniqCombined64Merge({PRECISION})(events)",
    "unique_user_count": f"uniqCombined64Merge({PRECISION})(users)",
}
FILTERS = ("channel", "platform", "event_name")


def can_be_rolled_up(query: Query) -> bool:
    """Whether the rollup's hours, names and channels are enough for `query`."""
    filters = query.selection.filters
    return (
        query.approximate
        and not query.measures
        and query.interval != "minute"
        # Hours of other zones may begin at half past.
        and query.selection.range.zone == UTC_NAME
        and all(group.name in DIMENSIONS for group in query.groups)
        and all(filter_.dimension.name in FILTERS for filter_ in filters)
    )


def rolled_up_rows(selection: Selection, columns: str, bindings: Bindings) -> str:
    """Like `select_rows`, but a row is an hour: `events` and `users` are its states."""
    start = selection.range.start
    first_us = max(0, start.us if start is not None else 0)
    end_us = min(max(selection.range.end.us, -1), TIME_MAX_US) + 1
    whole = _ceiling(first_us), end_us // HOUR_US * HOUR_US
    if whole[0] < whole[1]:
        edges = [(first_us, whole[0]), (whole[1], end_us)]
        parts = [_from_rollup(selection, bindings, *whole)]
    else:
        edges, parts = [(first_us, end_us)], []
    parts += [_from_events(selection, bindings, *edge) for edge in edges if edge[0] < edge[1]]
    hours = " UNION ALL ".join(parts)
    renamed = f"SELECT name, channel_type, hour AS event_time, events, users FROM ({hours})"
    return f"SELECT {columns}, event_time, events, users FROM ({renamed})"


def _from_rollup(selection: Selection, bindings: Bindings, first_us: int, end_us: int) -> str:
    conditions = _conditions(selection, bindings)
    for operator, us in ((">=", first_us), ("<", end_us)):
        bound = f"fromUnixTimestamp64Micro({bindings.integer(us)}, 'UTC')"
        conditions.append(f"hour {operator} {bound}")
    return f"SELECT * FROM {ROLLUP_TABLE} WHERE {' AND '.join(conditions)}"


def _from_events(selection: Selection, bindings: Bindings, first_us: int, end_us: int) -> str:
    bounds = Range(Instant(first_us, ""), Instant(end_us - 1, ""), is_open=False)
    conditions = _conditions(selection, bindings) + within(bounds, bindings)
    # No FINAL: a copy of an event adds nothing to its state.
    where = " AND ".join(conditions)
    return f"SELECT {STATES} FROM {EVENTS_TABLE} WHERE {where} GROUP BY {STATES_BY}"


def _conditions(selection: Selection, bindings: Bindings) -> list[str]:
    conditions = [filter_.condition(bindings) for filter_ in selection.filters]
    if selection.names:
        conditions.append(f"name IN {bindings.texts(selection.names)}")
    return conditions


def _ceiling(us: int) -> int:
    return -(-us // HOUR_US) * HOUR_US
