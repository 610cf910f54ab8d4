"""Turn the rows of a stream into decoded events, as JSON would give them.

Only rows that `typed_columns` or a rule has refused come here, and events without an id, whose id
is made from their content. So one set of rules explains what is wrong with an event.
"""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from ingest.event.definition import SECOND_US, TimestampUnit
from ingest.parsing.arrow_stream.columns import STREAM_TYPE, UNITS
from ingest.parsing.batch import YEARS
from ingest.parsing.strict_json import Flaw

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def events_as_sent(events: pa.StructArray) -> list[dict[str, Any]]:
    """Return plain columns as decoded events. A null is left out.

    A value that JSON can't express becomes a Flaw.
    """
    names = [field.name for field in events.type]
    columns = [_values(events.field(name), STREAM_TYPE.field(name).type) for name in names]
    return [
        {name: value for name, value in zip(names, row, strict=True) if value is not None}
        for row in zip(*columns, strict=True)
    ]


def _values(column: pa.Array, target: pa.DataType) -> list[Any]:
    if not pa.types.is_timestamp(column.type):
        return [_present(value, target) for value in column.to_pylist()]
    convert: Callable[[int, TimestampUnit], Any] = _unix_time if target == pa.int64() else _date
    unit = UNITS[column.type.unit]
    return [
        None if value is None else convert(value, unit)
        for value in column.cast(pa.int64()).to_pylist()
    ]


def _present(value: Any, target: pa.DataType) -> Any:
    """Return a value without nulls in its objects, and with a Flaw for what is not JSON."""
    if isinstance(value, dict):
        return {
            name: _present(child, target.field(name).type)
            for name, child in value.items()
            if child is not None
        }
    if isinstance(value, list):
        return [_present(item, target.value_type) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return Flaw("NaN and Infinity are not numbers: use null")
        if target == pa.int64() and value.is_integer():
            return int(value)
    return value


def _unix_time(value: int, unit: TimestampUnit) -> int | Flaw:
    """Return a time in its own unit, or in seconds if its magnitude does not tell the unit."""
    if value >= unit.first:  # too late for any unit, rather than a time in a smaller one
        return min(value, unit.end)
    if value < 0:
        return value
    seconds, rest = divmod(value * unit.multiplier // unit.divisor, SECOND_US)
    if rest:
        return Flaw("A time before 1973-03-03 must be a whole second")
    return seconds


def _date(value: int, unit: TimestampUnit) -> str | Flaw:
    us = value * unit.multiplier // unit.divisor
    try:
        date = _EPOCH + timedelta(microseconds=us)
    except OverflowError:
        return Flaw(f"date {YEARS}")
    return date.isoformat().replace("+00:00", "Z")
