"""The valid events of requests, and rules that all parsers share."""

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
YEARS = f"must lie in the years {YEAR_MIN} to {YEAR_MAX}"


@dataclass(slots=True)  # PERF: frozen=True costs 0.2 µs for each field
class Batch:
    """The valid events of one request.

    Attributes:
        events: the valid events in order, as compact JSON or as a struct array of EVENT_TYPE.
        client_ids: the id of each valid event; None if it has none.
        names: the name of each valid event.
        raw: each valid event as sent, with unknown fields, from which an id can be made. For an
            event with an id it is not used and may be None.
        times_us: the time that each valid event states, in µs since 1970; None if it has none.
        indexes: the position of each valid event in the request.
        rejected: errors of the invalid events, at most `validation.ERRORS_MAX`.
        size: number of events in the request, invalid ones included.
    """

    events: Sequence[bytes] | pa.StructArray
    client_ids: Sequence[str | None]
    names: Sequence[str]
    raw: Sequence[Any]
    times_us: Sequence[int | None]
    indexes: Sequence[int]
    rejected: Sequence[EventError]
    size: int

    @classmethod
    def of_valid(
        cls,
        events: Sequence[bytes] | pa.StructArray,
        *,
        client_ids: Sequence[str | None],
        names: Sequence[str],
        raw: Sequence[Any],
        times_us: Sequence[int | None],
    ) -> "Batch":
        """Return the batch of a request whose events are all valid."""
        size = len(events)
        return cls(events, client_ids, names, raw, times_us, range(size), (), size)


@dataclass(slots=True)
class Group:
    """The events of several requests.

    Attributes:
        batch: the events of all valid requests, in order.
        counts: number of events in `batch` for each request; 0 for a request that is not valid.
        unreadable: the error of each request whose body can't be read, by its position.
        invalid: the batch of each request that has invalid events, by its position.
    """

    batch: Batch
    counts: Sequence[int]
    unreadable: Mapping[int, IngestError]
    invalid: Mapping[int, Batch]


def events_of(value: Any) -> list[Any]:
    """Return the list in a decoded body, which is `{"events": [...]}` or the list itself.

    Raises:
        PayloadError: the body has another shape, or has a key twice.
    """
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
    """Return the time of an event in µs since 1970: `date`, or else `timestamp`, or None.

    Raises:
        FieldError: a time of the event is outside the years 1970 to 2299.
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
        raise FieldError("date", f"date {YEARS}")
    return time_us


class FieldError(Exception):
    """The value of a field is invalid, although its type is right."""

    def __init__(self, field: str, message: str) -> None:
        """Name the path of the field, and the problem with its value."""
        super().__init__(field, message)
        self.field = field
        self.message = message


def _unix_time_us(value: int, field: str) -> int:
    for unit in TIMESTAMP_UNITS_US:
        if unit.first <= value < unit.end:
            return value * unit.multiplier // unit.divisor
    raise FieldError(field, f"{field} {YEARS}, in s, ms, µs or ns")
