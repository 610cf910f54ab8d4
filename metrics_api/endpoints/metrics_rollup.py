"""The rollups: what `approximate=true` is answered from, where they have all that is asked for."""

from collections.abc import Sequence

from metrics_api.calendar.zones import UTC_NAME
from metrics_api.query.params import Query, Selection
from metrics_api.query.selection import TIME_MAX_US, named_and_filtered, within
from metrics_api.query.statement import Bindings
from metrics_api.query.times import Instant, Range
from storage.tables.rollups import MERGED, ROLLUPS, STATES, STATES_BY
from storage.tables.schema import EVENTS_TABLE

DIMENSIONS = ("channel", "platform", "event_name", "hourly", "daily", "weekly", "monthly")
ROLLUP_AGGREGATES = {"total_count": MERGED["events"], "unique_user_count": MERGED["users"]}
FILTERS = ("channel", "platform", "event_name")


def can_be_rolled_up(query: Query) -> bool:
    """Whether hours, names and channels are enough for `query`."""
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


def rolled_up_rows(selection: Selection, columns: str, bindings: Bindings, *, by: int) -> str:
    """Like `select_rows`, but a row is a day or an hour: `events` and `users` are its states.

    by: µs that no row may be longer than.
    """
    start = selection.range.start
    first_us = max(0, start.us if start is not None else 0)
    end_us = min(max(selection.range.end.us, -1), TIME_MAX_US) + 1
    tables = [(us, table) for us, table in ROLLUPS if us <= by]
    rows = " UNION ALL ".join(_parts(selection, bindings, first_us, end_us, tables))
    renamed = f"SELECT name, channel_type, time AS event_time, events, users FROM ({rows})"
    return f"SELECT {columns}, event_time, events, users FROM ({renamed})"


def _parts(
    selection: Selection,
    bindings: Bindings,
    first_us: int,
    end_us: int,
    tables: Sequence[tuple[int, str]],
) -> list[str]:
    """What is whole days comes from the days, of the rest what is whole hours from the hours, and
    what is still left from the events. The end is exclusive."""
    if not tables:
        return [_from_events(selection, bindings, first_us, end_us)]
    (us, table), *smaller = tables
    whole_us, whole_end_us = -(-first_us // us) * us, end_us // us * us
    if whole_us >= whole_end_us:
        return _parts(selection, bindings, first_us, end_us, smaller)
    parts = [_from_rollup(table, selection, bindings, whole_us, whole_end_us)]
    for edge_us, edge_end_us in ((first_us, whole_us), (whole_end_us, end_us)):
        if edge_us < edge_end_us:
            parts += _parts(selection, bindings, edge_us, edge_end_us, smaller)
    return parts


def _from_rollup(
    table: str, selection: Selection, bindings: Bindings, first_us: int, end_us: int
) -> str:
    conditions = named_and_filtered(selection, bindings)
    for operator, us in ((">=", first_us), ("<", end_us)):
        conditions.append(f"time {operator} {bindings.instant(us)}")
    return f"SELECT * FROM {table} WHERE {' AND '.join(conditions)}"


def _from_events(selection: Selection, bindings: Bindings, first_us: int, end_us: int) -> str:
    bounds = Range(Instant(first_us, ""), Instant(end_us - 1, ""))
    conditions = named_and_filtered(selection, bindings) + within(bounds, bindings)
    # No FINAL: a copy of an event adds nothing to its state.
    where = " AND ".join(conditions)
    return f"SELECT {STATES} FROM {EVENTS_TABLE} WHERE {where} GROUP BY {STATES_BY}"
