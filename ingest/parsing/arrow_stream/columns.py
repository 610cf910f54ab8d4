"""Convert the columns of an Arrow stream to plain types.

There are two steps. `plain_columns` removes encodings: dictionaries, views, large types and maps
become texts, numbers, structs and lists, with their values as they were sent. Decimals become
floats. `typed_columns` casts these to the exact types of an event. If a value does not fit, `rows`
explains it.

A few bytes can describe many values: a dictionary may have one long text that all rows repeat. So
the size of the result is counted before it is made.
"""

from collections.abc import Sequence
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

from ingest.errors import PayloadError, TooLargeError
from ingest.event.arrow import BODY_TYPE, EVENT_KIND, TIME
from ingest.event.definition import TIMESTAMP_UNITS_US
from ingest.parsing.arrow_stream.references import view_lengths, without_hidden_views

UNIX_TIMES = ("timestamp", "previous_timestamp")
"""Integers in an event, for which a stream may have columns of timestamps."""
STREAM_TYPE = pa.struct([f.with_type(TIME) if f.name == "date" else f for f in BODY_TYPE])
"""An event in a stream: like BODY_TYPE, but dates are times. They may be texts, too."""
REQUIRED = tuple(field.encode_name for field in EVENT_KIND.fields if field.required)
"""The columns that every event must have."""
UNITS = dict(zip(("s", "ms", "us", "ns"), TIMESTAMP_UNITS_US, strict=True))
"""The units of Arrow's timestamps."""

_OFFSET_BYTES = 4
_ITEM_BYTES = 32
"""What an item of a list counts for more than its values. PERF: in `rows` it takes 4 µs."""
_TYPE_CHARACTERS_MAX = 80
_TEXTS = (pa.string(), pa.large_string(), pa.string_view())


class Budget:
    """Counts sizes."""

    def __init__(self, bytes_max: int, what: str = "The decoded columns") -> None:
        """Allow `bytes_max` bytes in all; `what` says of what."""
        self._what = what
        self._bytes_max = bytes_max
        self._left = bytes_max

    def take(self, size: int) -> None:
        """Count `size` more bytes.

        Raises:
            TooLargeError: it is too much in all.
        """
        self._left -= size
        if self._left < 0:
            raise TooLargeError(f"{self._what} are larger than {self._bytes_max} bytes")


def plain_columns(batch: pa.RecordBatch, budget: Budget) -> pa.StructArray:
    """Return the known columns of a valid record batch as a struct array, without encodings.

    Raises:
        PayloadError: a column has a type that its field can't have.
        TooLargeError: the result would be larger than `budget`.
    """
    return _plain_struct(batch.to_struct_array(), STREAM_TYPE, "", budget)


def _plain(array: pa.Array, target: pa.DataType, path: str, budget: Budget) -> pa.Array:
    array = _decoded(array, path, budget)
    kind = array.type
    if pa.types.is_null(kind):
        budget.take(len(array) * _value_bytes(target))
    elif pa.types.is_struct(target):
        if not pa.types.is_struct(kind):
            raise _wrong_type(path, target, kind)
        return _plain_struct(array, target, f"{path}.", budget)
    elif pa.types.is_list(target):
        return _plain_list(array, target, path, budget)
    elif _fits(kind, target, path):
        budget.take(len(array) * _value_bytes(target))
        if pa.types.is_decimal(kind):  # as texts, because Arrow's own cast makes 19.99 another
            array = array.cast(pa.string()).cast(pa.float64())
    else:
        raise _wrong_type(path, target, kind)
    return array


def _decoded(array: pa.Array, path: str, budget: Budget) -> pa.Array:
    """Return an array without an extension type, a dictionary, or a large or view type of text."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        values = _decoded(array.dictionary, path, budget)
        if pa.types.is_nested(values.type) or pa.types.is_dictionary(values.type):
            raise PayloadError(f"Column {path}: a dictionary must have simple values")
        if values.type == pa.string():
            budget.take(_sum(pc.binary_length(values).take(array.indices)))
        elif not pa.types.is_null(values.type):
            budget.take(len(array) * (values.type.bit_width // 8 + 1))
        array = values.take(array.indices)
    if array.type == pa.string_view():
        array = without_hidden_views(array)
        budget.take(_sum(view_lengths(array)))
    return array.cast(pa.string()) if array.type in _TEXTS[1:] else array


def _plain_struct(
    array: pa.StructArray, target: pa.StructType, prefix: str, budget: Budget
) -> pa.StructArray:
    """Return the known fields of a struct, in the order of `target`, without encodings."""
    array.validate()  # Arrow ends the process if a field is shorter than its struct
    sent = [field.name for field in array.type]
    children = {}
    for field in target:
        if sent.count(field.name) > 1:
            raise PayloadError(f"Column {prefix}{field.name} is there twice")
        if field.name in sent:
            child = array.field(field.name)
            children[field.name] = _plain(child, field.type, prefix + field.name, budget)
        else:
            budget.take(len(array) * _value_bytes(field.type))
    if not children:  # Arrow makes no struct without fields
        children[target[0].name] = pa.nulls(len(array))
    return pa.StructArray.from_arrays(
        list(children.values()), names=list(children), mask=mask(array)
    )


def _plain_list(array: pa.Array, target: pa.ListType, path: str, budget: Budget) -> pa.ListArray:
    kind, item = array.type, target.value_type
    if pa.types.is_map(kind) and pa.types.is_struct(item) and item.get_field_index("key") >= 0:
        array = _params_of_map(array, path, budget)
    elif pa.types.is_fixed_size_list(kind):
        budget.take(len(array) * kind.list_size * _OFFSET_BYTES)
    elif not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        raise _wrong_type(path, target, kind)
    budget.take(len(array) * _OFFSET_BYTES)
    offsets, values = _shown(array)
    budget.take(len(values) * _ITEM_BYTES)
    values = _plain(values, item, f"{path}[]", budget)
    return pa.ListArray.from_arrays(offsets, values, mask=mask(array))


def _shown(array: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return offsets from 0 and values of lists of any type, without values that no list shows.

    Lists within lists are a slice if the outer ones hide the first of them. So offsets
    are made here, and no list is cast: casts of slices are where Arrow is least tested.
    """
    lengths = pc.list_value_length(array)
    if (
        pa.types.is_list(array.type)
        and not array.offset
        and _sum(lengths) == len(array.values)  # PERF: the common case
    ):
        return array.offsets, array.values
    ends = pc.cumulative_sum(pc.fill_null(lengths.cast(pa.int64()), 0))
    return pa.concat_arrays([pa.array([0]), ends]).cast(pa.int32()), array.flatten()


def _params_of_map(array: pa.MapArray, path: str, budget: Budget) -> pa.ListArray:
    """Return a map as a list of params, with each value in the field of its type."""
    entries = array.values
    lists = pa.Array.from_buffers(
        pa.list_(entries.type), len(array), array.buffers()[:2], -1, array.offset, [entries]
    )
    offsets, entries = _shown(lists)
    values = _decoded(entries.field(1), path, budget)
    kind = values.type
    fields = {"key": entries.field(0)}
    if pa.types.is_struct(kind):
        fields |= zip([field.name for field in kind], values.flatten(), strict=True)
    elif kind == pa.string():
        fields["string_value"] = values
    elif _is_number(kind):
        fields["number_value"] = values
    elif pa.types.is_boolean(kind):
        fields["boolean_value"] = values
    elif not pa.types.is_null(kind):
        raise PayloadError(
            f"Column {path}: the values of a map must be texts, numbers, booleans or structs,"
            f" not {_named(kind)}"
        )
    params = pa.StructArray.from_arrays(list(fields.values()), names=list(fields))
    return pa.ListArray.from_arrays(offsets, params, mask=mask(array))


def _fits(kind: pa.DataType, target: pa.DataType, path: str) -> bool:
    if target == TIME:
        return bool(pa.types.is_timestamp(kind) or kind == pa.string())
    if target == pa.int64():
        is_time = path in UNIX_TIMES and pa.types.is_timestamp(kind)
        return bool(is_time or pa.types.is_integer(kind) or pa.types.is_floating(kind))
    return _is_number(kind) if target == pa.float64() else bool(kind == target)


def _is_number(kind: pa.DataType) -> bool:
    if pa.types.is_decimal(kind):  # Arrow writes no text for a scale beyond all digits
        return bool(abs(kind.scale) <= kind.precision)
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def mask(array: pa.Array) -> pa.Array | None:
    """Return which values of an array are null; None if none is."""
    return array.is_null() if array.null_count else None


def _sum(numbers: pa.Array) -> int:
    return pc.sum(numbers.cast(pa.int64())).as_py() or 0


@cache
def _value_bytes(kind: pa.DataType) -> int:
    """Return about the size of one null of a type."""
    if pa.types.is_struct(kind):
        return sum(_value_bytes(field.type) for field in kind)
    if pa.types.is_list(kind) or kind == pa.string():
        return _OFFSET_BYTES
    return int(kind.bit_width) // 8 + 1


def _wrong_type(path: str, target: pa.DataType, kind: pa.DataType) -> PayloadError:
    return PayloadError(f"Column {path} must be {_expected(target)}, not {_named(kind)}")


def _expected(target: pa.DataType) -> str:
    if pa.types.is_list(target):
        return "a list of structs"
    names: Sequence[tuple[pa.DataType, str]] = (
        (pa.string(), "a string"),
        (pa.int64(), "an integer"),
        (pa.float64(), "a number"),
        (pa.bool_(), "a boolean"),
        (TIME, "a timestamp, or a string as in RFC 3339"),
    )
    return next((name for kind, name in names if kind == target), "a struct")


def _named(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= _TYPE_CHARACTERS_MAX else f"{text[:_TYPE_CHARACTERS_MAX]}…"
