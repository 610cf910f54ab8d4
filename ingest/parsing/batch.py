"""The valid events of requests, and the rules that every parser shares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from ingest.errors import EventError, IngestError, PayloadError
from ingest.event.definition import (
    EVENT_TIME_END_US,
    TIMESTAMP_UNITS_US,
    YEAR_MAX,
    YEAR_MIN,
    Event,
)
from ingest.parsing.strict_json import Flaw

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_YEARS = f"must lie in the years {YEAR_MIN} to {YEAR_MAX}"


@dataclass(slots=True)  # PERF: frozen costs 0.2 µs for each field
class Batch:
    """One request's valid events.

    events: valid, in order, as compact JSON or as a struct array of EVENT_TYPE; client_ids: the id
    each one has, if any; names: of the events; raw: the same events as sent, unknown fields
    included, or None where there is an id; times_us: the event time each one states, if any;
    indexes: their positions in the request; rejected: why the others were rejected (at most
    `ERRORS_MAX`); size: events in the request.
    """

    events: Sequence[bytes] | pa.StructArray
    client_ids: Sequence[str | None]
    names: Sequence[str]
    raw: Sequence[Any]
    times_us: Sequence[int | None]
    indexes: Sequence[int]
    rejected: Sequence[EventError]
    size: int


@dataclass(slots=True)
class Group:
    """Several requests in one. batch: the events of all that are in order; counts: how many each
    request has in it, none of a request with an error; errors: by request, why it is refused.

    What could not even be read does not count in the batch's `size`.
    """

    batch: Batch
    counts: Sequence[int]
    errors: Mapping[int, IngestError]


def events_of(value: Any) -> list[Any]:
    """The list in a batch body: `{"events": [...]}` or a bare array. Raises PayloadError."""
    if isinstance(value, Flaw):
        raise PayloadError(value.message)
    if isinstance(value, dict):
        if "events" not in value:
            raise PayloadError('Body must have the key "events" with a list of events')
        value = value["events"]
        if not isinstance(value, list):
            raise PayloadError('"events" must be a list')
    if not isinstance(value, list):
        raise PayloadError('Body must be {"events": [...]} or a list of events')
    return value


def event_time_us(event: Event) -> int | None:
    """The event time in µs since 1970 that the event states: `date`, else `timestamp`.

    Raises FieldError when a time of the event lies outside the years 1970 to 2299.
    """
    previous = event.get("previous_timestamp")
    if previous is not None:
        _unix_time_us(previous, "previous_timestamp")
    timestamp = event.get("timestamp")
    time_us = None if timestamp is None else _unix_time_us(timestamp, "timestamp")
    date = event.get("date")
    if date is None:
        return time_us
    time_us = (date - _EPOCH) // _MICROSECOND
    if not 0 <= time_us < EVENT_TIME_END_US:
        raise FieldError("date", f"date {_YEARS}")
    return time_us


class FieldError(Exception):
    """(field, message) of a value that has the right type and still won't do."""


def _unix_time_us(value: int, field: str) -> int:
    for first, end, multiplier, divisor in TIMESTAMP_UNITS_US:
        if first <= value < end:
            return value * multiplier // divisor
    raise FieldError(field, f"{field} {_YEARS}, in s, ms, µs or ns")
