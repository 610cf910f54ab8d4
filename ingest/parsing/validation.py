"""Raw decoded values to valid events: a fast path in C, and a slow path that explains.

The fast path converts all events of a request in one msgspec call. Only when that fails does the
slow path go through them one by one, to name every bad event and to save the good ones when the
client asked for partial accept.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import orjson
import pyarrow as pa

from ingest.errors import EventError, PayloadError
from ingest.event.definition import (
    EVENT_TIME_END_US,
    INTEGER_MAX,
    TIMESTAMP_UNITS_US,
    YEAR_MAX,
    YEAR_MIN,
    Event,
)
from ingest.parsing.strict_json import Decoded, Flaw, Oversized, find_flaw, plain

ERRORS_MAX = 100
"""How many bad events a reply explains."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_YEARS = f"must lie in the years {YEAR_MIN} to {YEAR_MAX}"
_PATH = re.compile(r" - at `\$(?:\[\.\.\.\])?\.?(?P<path>[^`]*)`$")
_LONG_FRACTION = re.compile(r"(:\d\d\.\d{6})\d+")
DATE_LENGTH_OF_7_DIGITS = len("2024-01-31T23:59:59.9999999Z")
_ROUNDED = (f"Expected `int` <= {INTEGER_MAX}", f"Expected `int` >= -{INTEGER_MAX}")
_IS_ROUNDED = "An integer beyond 2^53 would be rounded: send an id as a text"
_OVERSIZED, _TOO_LONG = f"`{Oversized.__name__}`", "an integer of more than 64 bits"
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]*)`")


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


def validate(decoded: Decoded) -> Batch:
    """The valid events of `decoded`, whose value is a list, and why the others are not."""
    raw: list[Any] = decoded.value
    cut = list(map(_cut, raw))
    if not decoded.flawed:
        try:
            events = msgspec.convert(cut, list[Event])
            times_us = [event_time_us(event) for event in events]
        except (msgspec.ValidationError, FieldError):
            pass
        else:
            ids = [event.get("id") for event in events]
            names = [event["name"] for event in events]
            texts = [orjson.dumps(event) for event in events]
            return Batch(texts, ids, names, raw, times_us, range(len(raw)), (), len(raw))
    return _validate_each(raw, cut, decoded.flawed)


def _cut(value: Any) -> Any:
    """An event whose date ends with µs: msgspec rounds what is after, even to the next day."""
    date = value.get("date") if isinstance(value, dict) else None
    if not isinstance(date, str) or len(date) < DATE_LENGTH_OF_7_DIGITS:
        return value
    return {**value, "date": _LONG_FRACTION.sub(r"\1", date)}


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


def _validate_each(raw: list[Any], cut: list[Any], flawed: bool) -> Batch:
    events, times_us, indexes = [], [], []
    errors: list[EventError] = []
    for index, value in enumerate(cut):
        try:
            if flawed and (flaw := find_flaw(value)) is not None:
                raise FieldError(*flaw)
            event = msgspec.convert(value, Event)
            time_us = event_time_us(event)
        except msgspec.ValidationError as error:
            if len(errors) < ERRORS_MAX:
                errors.append(EventError(index, *_explain(error)))
        except FieldError as error:
            if len(errors) < ERRORS_MAX:
                errors.append(EventError(index, *error.args))
        else:
            events.append(event)
            times_us.append(time_us)
            indexes.append(index)
    ids = [event.get("id") for event in events]
    names = [event["name"] for event in events]
    good = [plain(raw[index]) if flawed else raw[index] for index in indexes]
    texts = [orjson.dumps(event) for event in events]
    return Batch(texts, ids, names, good, times_us, indexes, errors, len(raw))


def _explain(error: msgspec.ValidationError) -> tuple[str, str]:
    """(field path, message) of a msgspec error, whose text ends with the path."""
    text = str(error)
    match = _PATH.search(text)
    path = match["path"] if match else ""
    message = text[: match.start()] if match else text
    missing = _MISSING.fullmatch(message)
    if missing:
        path = f"{path}.{missing['field']}" if path else missing["field"]
        message = "Required field is missing"
    if message in _ROUNDED:
        message = _IS_ROUNDED
    elif _OVERSIZED in message:
        message = _IS_ROUNDED if "float" in message else message.replace(_OVERSIZED, _TOO_LONG)
    return path, message.replace("`", "")
