"""Turn the rows of a stream into decoded events, as JSON would give them.

Only rows that `typed_columns` or a rule has refused come here, and events without an id, whose id
is made from their content. So one set of rules explains what is wrong with an event.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pyarrow as pa

from ingest.event.definition import SECOND_US, TimestampUnit
from ingest.event.from_row import printed
from ingest.parsing.arrow_stream.columns import STREAM_TYPE, UNITS
from ingest.parsing.batch import YEARS
from ingest.parsing.strict_json import Flaw

_INTEGER = pa.int64()


def events_as_sent(events: pa.StructArray) -> list[dict[str, Any]]:
    """Return plain columns as decoded events. A null is left out, except in a list.

    A value that JSON can't express becomes a Flaw.

    PERF: column by column. Arrow's `to_pylist` takes four times as long for structs in lists.
    """
    return _structs(events, STREAM_TYPE)


def _structs(array: pa.StructArray, target: pa.StructType) -> list[Any]:
    names = [field.name for field in array.type]
    columns = [_values(array.field(name), target.field(name).type) for name in names]
    structs = [
        {name: value for name, value in zip(names, row, strict=True) if value is not None}
        for row in zip(*columns, strict=True)
    ]
    return structs if not array.null_count else _with_nulls(array, structs)


def _lists(array: pa.ListArray, target: pa.ListType) -> list[Any]:
    items = _values(array.values, target.value_type)
    lists = [items[start:end] for start, end in pairwise(array.offsets.to_pylist())]
    return lists if not array.null_count else _with_nulls(array, lists)


def _with_nulls(array: pa.Array, values: list[Any]) -> list[Any]:
    is_valid = array.is_valid().to_pylist()
    return [value if valid else None for value, valid in zip(values, is_valid, strict=True)]


def _values(array: pa.Array, target: pa.DataType) -> list[Any]:
    kind = array.type
    if pa.types.is_struct(kind):
        return _structs(array, target)
    if pa.types.is_list(kind):
        return _lists(array, target)
    if pa.types.is_timestamp(kind):
        convert: Callable[[int, TimestampUnit], Any] = _unix_time if target == _INTEGER else _date
        unit, counts = UNITS[kind.unit], array.cast(_INTEGER).to_pylist()
        return [None if count is None else convert(count, unit) for count in counts]
    values: list[Any] = array.to_pylist()
    if pa.types.is_floating(kind):
        return [None if value is None else _number(value, target) for value in values]
    return values


def _number(value: float, target: pa.DataType) -> int | float | Flaw:
    """Return a float, or the integer that it is if the field has integers."""
    if not math.isfinite(value):
        return Flaw("NaN and Infinity are not numbers: use null")
    return int(value) if target == _INTEGER and value.is_integer() else value


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
    try:
        return printed(value * unit.multiplier // unit.divisor)
    except OverflowError:
        return Flaw(f"date {YEARS}")
