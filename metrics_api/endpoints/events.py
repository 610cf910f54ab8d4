"""GET /events: the events themselves, newest first, page by page."""

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
"""Makes an event, as clients send it, of a row of the table. Times of the row are in µs."""
_COLUMNS: Mapping[str, Kind] = {
    "id": "text", "name": "text", "event_time": "text", "received_at": "text", "event": "text"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cursor:
    """The end of a page: the values by which its last event is ordered.

    Attributes:
        time_us: event time, in µs since 1970.
        id: id of the event.
        name: name of the event.
    """

    time_us: int
    id: str
    name: str

    def text(self) -> str:
        """Return the cursor as clients see it: JSON in URL-safe base64 without padding."""
        text = orjson.dumps([self.time_us, self.id, self.name])
        return urlsafe_b64encode(text).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class EventsQuery:
    """The parsed parameters of the endpoint.

    Attributes:
        selection: events to list.
        ids: only events with one of these ids; empty for all events.
        limit: maximum number of events on the page.
        after: end of the previous page, None for the first page.
    """

    selection: Selection
    ids: tuple[str, ...]
    limit: int
    after: Cursor | None


def events_endpoint(schema: pa.Schema, restore: Restore) -> Endpoint:
    """Make the endpoint.

    Args:
        schema: schema of the events table.
        restore: makes an event of a row of that table.
    """

    def plan(parameters: Parameters, now_us: int) -> QueryPlan:
        query = parse_events_query(parameters, now_us=now_us)
        statement = events_sql(query, schema)
        result = partial(_result, query, schema.names, restore)
        return QueryPlan([statement], result, query.selection.range.end.us)

    return plan


def parse_events_query(parameters: Parameters, *, now_us: int) -> EventsQuery:
    """Parse the parameters of the endpoint.

    Raises:
        ParameterError: A parameter is wrong.
    """
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


def events_sql(query: EventsQuery, schema: pa.Schema) -> Statement:
    """Build the SQL that lists the events of a page.

    Returns:
        A statement whose rows have the columns of `schema`, times in µs since 1970. There is one
        row more than the limit if there is another page.
    """
    bindings = Bindings()
    times = {field.name for field in schema if pa.types.is_timestamp(field.type)}
    shown = ", ".join(
        f"toUnixTimestamp64Micro(`{name}`)" if name in times else f"`{name}`"
        for name in schema.names
    )
    conditions = []
    if query.ids:
        conditions.append(f"id IN {bindings.texts(query.ids)}")
    if query.after is not None:
        after = query.after
        time = bindings.instant(after.time_us)
        order_key = f"({time}, {bindings.text(after.id)}, {bindings.text(after.name)})"
        conditions.append(f"(event_time, id, name) < {order_key}")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = select_rows(query.selection, "name, key_time, id, event_time", bindings)
    order = "event_time DESC, id DESC, name DESC"
    limit = bindings.integer(query.limit + 1)
    # PERF: the wide columns are read only for the rows of the page.
    page = f"SELECT {SORT_KEY} FROM ({rows}){where} ORDER BY {order} LIMIT {limit}"
    wide = select_rows(Selection((), query.selection.range), shown, bindings)
    return Statement(
        f"{wide} AND ({SORT_KEY}) IN ({page}) ORDER BY {order}",
        bindings.values,
    )


def _result(
    query: EventsQuery, names: Sequence[str], restore: Restore, results: list[Rows]
) -> QueryResult:
    found = [dict(zip(names, row, strict=False)) for row in results[0]]
    page = found[: query.limit]
    cursor = None
    if len(found) > len(page):
        last = page[-1]
        cursor = Cursor(last["event_time"], last["id"], last["name"]).text()
    events = [restore(row) for row in page]
    rows = [
        [*(event[name] for name in list(_COLUMNS)[:-1]), orjson.dumps(event).decode()]
        for event in events
    ]
    document = {**query.selection.range.document(), "events": events, "next_cursor": cursor}
    return QueryResult(document, _COLUMNS, rows)
