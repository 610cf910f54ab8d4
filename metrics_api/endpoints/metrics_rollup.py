"""SQL over the rollups, which `approximate=true` uses when they have all requested columns."""

from collections.abc import Sequence

from metrics_api.calendar.zones import UTC_NAME
from metrics_api.query.params import Query, Selection
from metrics_api.query.selection import TIME_MAX_US, named_and_filtered, within
from metrics_api.query.statement import Bindings
from metrics_api.query.times import Instant, Range
from storage.tables.rollups import MERGED, ROLLUPS, STATES, STATES_BY
from storage.tables.schema import EVENTS_TABLE

DIMENSIONS = ("channel", "platform", "event_name", "hourly", "daily", "weekly", "monthly")
"""Dimensions by which rollups can be grouped."""
ROLLUP_AGGREGATES = {"total_count": MERGED["events"], "unique_user_count": MERGED["users"]}
"""Key of the JSON document to the SQL that computes it from states."""
FILTERS = ("channel", "platform", "event_name")
"""Dimensions by which rollups can be filtered."""


def can_be_rolled_up(query: Query) -> bool:
    """Return whether a query needs nothing beyond the hours, names and channels of rollups."""
    filters = query.selection.filters
    return (
        query.approximate
        and not query.measures
        and query.interval != "minute"
        # Rollups have hours of UTC. In other zones hours may begin at half past.
        and query.selection.range.zone == UTC_NAME
        and all(group.name in DIMENSIONS for group in query.groups)
        and all(filter_.dimension.name in FILTERS for filter_ in filters)
    )


def rolled_up_rows(
    selection: Selection, columns: str, bindings: Bindings, *, max_bucket_us: int
) -> str:
    """Build a SELECT like `select_rows`, with one row for each day or hour instead of each event.

    The columns `events` and `users` are states of aggregate functions.

    Args:
        selection: events to look at.
        columns: SQL of further columns.
        bindings: takes the bound values.
        max_bucket_us: longest bucket that may be used, in µs.
    """
    start = selection.range.start
    first_us = max(0, start.us if start is not None else 0)
    end_us = min(max(selection.range.end.us, -1), TIME_MAX_US) + 1
    tables = [(us, table) for us, table in ROLLUPS if us <= max_bucket_us]
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
    """Build the SELECTs that together cover a range.

    Whole days are read from the daily rollup. Whole hours of the rest are read from the hourly
    rollup, and what then remains from the events.

    Args:
        selection: events to look at.
        bindings: takes the bound values.
        first_us: first instant, in µs since 1970.
        end_us: end of the range, exclusive.
        tables: (length of a bucket in µs, name) of the rollups to use, the longest first.
    """
    if not tables:
        return [_from_events(selection, bindings, first_us, end_us)]
    (us, table), *smaller = tables
    whole_us, whole_end_us = (first_us + us - 1) // us * us, end_us // us * us
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
    # No FINAL: a state is a sketch, and a second copy of an event does not change it.
    where = " AND ".join(conditions)
    return f"SELECT {STATES} FROM {EVENTS_TABLE} WHERE {where} GROUP BY {STATES_BY}"
