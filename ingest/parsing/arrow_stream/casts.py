"""Cast plain columns to the exact types of an event."""

import pyarrow as pa
import pyarrow.compute as pc

from ingest.event.arrow import TIME
from ingest.parsing.arrow_stream.columns import STREAM_TYPE, UNITS, UNIX_TIMES, mask


def typed_columns(events: pa.StructArray) -> pa.StructArray:
    """Cast plain columns to STREAM_TYPE. Texts in `date` stay texts.

    Raises:
        pa.ArrowInvalid: a value does not fit into the type of its field.
    """
    columns = {field.name: events.field(field.name) for field in events.type}
    for name in UNIX_TIMES:
        if name in columns and pa.types.is_timestamp(columns[name].type):
            columns[name] = _unix_times(columns[name])
    fields = list(STREAM_TYPE)
    at = STREAM_TYPE.get_field_index("date")
    if "date" in columns and pa.types.is_timestamp(columns["date"].type):
        columns["date"] = _times(columns["date"])
    elif "date" in columns and columns["date"].type == pa.string():
        fields[at] = fields[at].with_type(pa.string())
    plain = pa.StructArray.from_arrays(list(columns.values()), names=list(columns))
    return _typed(plain, pa.struct(fields))


def _typed(array: pa.Array, target: pa.DataType) -> pa.Array:
    if array.type.equals(target):
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), target)
    if pa.types.is_list(target):
        values = _typed(array.values, target.value_type)
        return pa.ListArray.from_arrays(array.offsets, values, type=target, mask=mask(array))
    if not pa.types.is_struct(target):
        return array.cast(target)
    sent = [field.name for field in array.type]
    children = [
        _typed(array.field(field.name), field.type)
        if field.name in sent
        else pa.nulls(len(array), field.type)
        for field in target
    ]
    return pa.StructArray.from_arrays(children, fields=list(target), mask=mask(array))


def _unix_times(times: pa.Array) -> pa.Array:
    """Return times as integers in their own unit, if its magnitude tells the unit."""
    unit, values = UNITS[times.type.unit], times.cast(pa.int64())
    least, most = pc.min_max(values).as_py().values()
    if least is not None and (least < unit.first or most >= unit.end):
        raise pa.ArrowInvalid("The magnitude of a time does not tell its unit")
    return values


def _times(times: pa.Array) -> pa.Array:
    """Return times in µs. Times before 1970 don't fit, because a division would round them up."""
    unit, values = UNITS[times.type.unit], times.cast(pa.int64())
    least = pc.min(values).as_py()
    if least is not None and least < 0:
        raise pa.ArrowInvalid("A time is before 1970")
    return pc.divide(pc.multiply_checked(values, unit.multiplier), unit.divisor).cast(TIME)
