"""GET /events: the events themselves, newest first, by id, user, name or any filter."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
import pyarrow as pa

from metrics_api.endpoints.endpoint import Endpoint, QueryPlan, QueryResult, Rows
from metrics_api.errors import ParameterError
from metrics_api.query.params import Selection, parse_selection
from metrics_api.query.query_string import Parameters
from metrics_api.query.selection import select_rows
from metrics_api.query.statement import Bindings, Kind, Statement
from storage.tables.schema import SORT_KEY

LIMIT_DEFAULT, LIMIT_MAX = 100, 1_000
Restore = Callable[[Mapping[str, Any]], dict[str, Any]]
"""A row of the table, its times in µs since 1970, to the event as clients send it."""
_COLUMNS: Mapping[str, Kind] = {
    "id": "text", "name": "text", "event_time": "text", "received_at": "text", "event": "text"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ends: what its last event is ordered by."""

    time_us: int
    id: str
    name: str

    def text(self) -> str:
        text = orjson.dumps([self.time_us, self.id, self.name])
        return urlsafe_b64encode(text).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class EventsQuery:
    """ids: any of them, of none for all; after: the end of the page before."""

    selection: Selection
    ids: tuple[str, ...]
    limit: int
    after: Cursor | None


def events_endpoint(schema: pa.Schema, restore: Restore) -> Endpoint:
    """schema: of the events table."""

    def plan(parameters: Parameters, now_us: int) -> QueryPlan:
        recent = parse_events_query(parameters, now_us=now_us)
        statement = events_sql(recent, schema)
        result = partial(_result, recent, schema.names, restore)
        return QueryPlan([statement], result, recent.selection.range.end.us)

    return plan


def parse_events_query(parameters: Parameters, *, now_us: int) -> EventsQuery:
    """Raises ParameterError."""
    ids = tuple(parameters.many("id"))
    limit = parameters.integer("limit", low=1, high=LIMIT_MAX) or LIMIT_DEFAULT
    cursor = parameters.one("cursor")
    after = _parse_cursor(cursor) if cursor is not None else None
    return EventsQuery(parse_selection(parameters, now_us=now_us), ids, limit, after)


def _parse_cursor(cursor: str) -> Cursor:
    try:
        decoded = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        time_us, event_id, name = decoded
        if not isinstance(time_us, int) or abs(time_us) >= 2**63 or isinstance(time_us, bool):
            raise ValueError
        if not isinstance(event_id, str) or not isinstance(name, str) or "\0" in event_id + name:
            raise ValueError
    except (ValueError, TypeError, binascii.Error) as error:
        raise ParameterError(
            "Query parameter cursor must be the next_cursor of the page before"
        ) from error
    return Cursor(time_us, event_id, name)


def events_sql(recent: EventsQuery, schema: pa.Schema) -> Statement:
    """Rows are the columns of `schema`, times in µs since 1970; one row more than a page has when
    there is another page."""
    bindings = Bindings()
    times = {field.name for field in schema if pa.types.is_timestamp(field.type)}
    shown = ", ".join(
        f"toUnixTimestamp64Micro(`{name}`)" if name in times else f"`{name}`"
        for name in schema.names
    )
    key = SORT_KEY
    conditions = []
    if recent.ids:
        conditions.append(f"id IN {bindings.texts(recent.ids)}")
    if recent.after is not None:
        after = recent.after
        time = bindings.instant(after.time_us)
        place = f"({time}, {bindings.text(after.id)}, {bindings.text(after.name)})"
        conditions.append(f"(event_time, id, name) < {place}")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = select_rows(recent.selection, "name, key_time, id, event_time", bindings)
    order = "event_time DESC, id DESC, name DESC"
    limit = bindings.integer(recent.limit + 1)
    # PERF: the wide columns are read for the rows of the page alone.
    page = f"SELECT {key} FROM ({rows}){where} ORDER BY {order} LIMIT {limit}"
    wide = select_rows(Selection((), recent.selection.range), shown, bindings)
    return Statement(
        f"{wide} AND ({key}) IN ({page}) ORDER BY {order}",
        bindings.values,
    )


def _result(
    recent: EventsQuery, names: Sequence[str], restore: Restore, results: list[Rows]
) -> QueryResult:
    found = [dict(zip(names, row, strict=False)) for row in results[0]]
    page = found[: recent.limit]
    cursor = None
    if len(found) > len(page):
        last = page[-1]
        cursor = Cursor(last["event_time"], last["id"], last["name"]).text()
    events = [restore(row) for row in page]
    rows = [
        [*(event[name] for name in list(_COLUMNS)[:-1]), orjson.dumps(event).decode()]
        for event in events
    ]
    document = {**recent.selection.range.document(), "events": events, "next_cursor": cursor}
    return QueryResult(document, _COLUMNS, rows)
