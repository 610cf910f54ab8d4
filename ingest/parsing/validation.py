"""Validate decoded events.

First all events of a request are converted in one msgspec call. Only if this fails, they are
converted one by one. This names every invalid event and keeps the valid ones, for clients that
accept a partial result.
"""

import re
from typing import Any

import msgspec
import orjson

from ingest.errors import EventError
from ingest.event.definition import INTEGER_MAX, Event
from ingest.parsing.batch import Batch, FieldError, event_time_us
from ingest.parsing.strict_json import Decoded, Oversized, find_flaw, plain

ERRORS_MAX = 100
"""Maximum number of invalid events that a response explains."""

_PATH = re.compile(r" - at `\$(?:\[\.\.\.\])?\.?(?P<path>[^`]*)`$")
_LONG_FRACTION = re.compile(r"(:\d\d\.\d{6})\d+")
DATE_LENGTH_OF_7_DIGITS = len("2024-01-31T23:59:59.9999999Z")
_ROUNDED = (f"Expected `int` <= {INTEGER_MAX}", f"Expected `int` >= -{INTEGER_MAX}")
_IS_ROUNDED = "An integer beyond 2^53 would be rounded: send ids as strings"
_OVERSIZED, _TOO_LONG = f"`{Oversized.__name__}`", "an integer of more than 64 bits"
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]*)`")


def validate(decoded: Decoded) -> Batch:
    """Return the valid events of `decoded`, whose value is a list, and the errors of the others."""
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
            return Batch.of_valid(
                texts,
                client_ids=ids,
                names=names,
                raw=raw,
                times_us=times_us,
            )
    return _validate_each(raw, cut, decoded.flawed)


def _cut(value: Any) -> Any:
    """Cut the date of an event to µs. msgspec would round it, possibly to the next day."""
    date = value.get("date") if isinstance(value, dict) else None
    if not isinstance(date, str) or len(date) < DATE_LENGTH_OF_7_DIGITS:
        return value
    return {**value, "date": _LONG_FRACTION.sub(r"\1", date)}


def _validate_each(raw: list[Any], cut: list[Any], flawed: bool) -> Batch:
    events, times_us, indexes = [], [], []
    errors: list[EventError] = []
    for index, value in enumerate(cut):
        try:
            if flawed and (flaw := find_flaw(value)) is not None:
                path, message = flaw
                raise FieldError(path, message)
            event = msgspec.convert(value, Event)
            time_us = event_time_us(event)
        except msgspec.ValidationError as error:
            if len(errors) < ERRORS_MAX:
                path, message = _explain(error)
                errors.append(EventError(index, path, message))
        except FieldError as error:
            if len(errors) < ERRORS_MAX:
                errors.append(EventError(index, error.field, error.message))
        else:
            events.append(event)
            times_us.append(time_us)
            indexes.append(index)
    ids = [event.get("id") for event in events]
    names = [event["name"] for event in events]
    valid_raw = [plain(raw[index]) if flawed else raw[index] for index in indexes]
    texts = [orjson.dumps(event) for event in events]
    return Batch(
        events=texts,
        client_ids=ids,
        names=names,
        raw=valid_raw,
        times_us=times_us,
        indexes=indexes,
        rejected=errors,
        size=len(raw),
    )


def _explain(error: msgspec.ValidationError) -> tuple[str, str]:
    """Split the text of a msgspec error, which ends with the path, into path and message."""
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
