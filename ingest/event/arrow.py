"""The Arrow schemas of an event, derived from its definition.

In the buffer an event is a struct beside its id and times (`RECORD_SCHEMA`), or a JSON text
(`TEXT_SCHEMA`, see `text`). In the table every leaf is a column (`TABLE_SCHEMA`). The names of
object fields are joined with `_` (`device_category`). Lists become ClickHouse Nested columns, whose
names are joined with `.` (`items.params.key`). `to_columns` turns structs into columns, once per
flush and without copying.
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import pyarrow as pa
from msgspec import inspect

from ingest.event.definition import Event

LOW_CARDINALITY, NULLABLE = b"low_cardinality", b"nullable"
TIME = pa.timestamp("us", "UTC")

_SCALARS: dict[type[inspect.Type], pa.DataType] = {
    inspect.StrType: pa.string(),
    inspect.LiteralType: pa.string(),
    inspect.IntType: pa.int64(),
    inspect.FloatType: pa.float64(),
    inspect.BoolType: pa.bool_(),
    inspect.DateTimeType: TIME,
}


def _field(name: str, kind: inspect.Type) -> pa.Field:
    """Return the Arrow field of an event field, with the options of its column as metadata."""
    extra: dict[str, Any] = {}
    while isinstance(kind, inspect.Metadata | inspect.UnionType):
        if isinstance(kind, inspect.Metadata):
            extra |= kind.extra or {}
            kind = kind.type
        else:
            kind = _stored(kind)
    if isinstance(kind, inspect.TypedDictType):
        return pa.field(name, pa.struct(_fields(kind)))
    if isinstance(kind, inspect.ListType):
        return pa.field(name, pa.list_(_field("item", kind.item_type)))
    # An absent string is stored as "". Other absent values must differ from zero.
    is_text = isinstance(kind, inspect.StrType | inspect.LiteralType)
    metadata = {}
    if extra.get("low_cardinality") or isinstance(kind, inspect.LiteralType):
        metadata[LOW_CARDINALITY] = b"1"
    if extra.get("nullable") or not is_text:
        metadata[NULLABLE] = b"1"
    return pa.field(name, _SCALARS[type(kind)], metadata=metadata)


def _stored(kind: inspect.UnionType) -> inspect.Type:
    """Return the type that can hold all values of a union: float if it has one."""
    parts = [part for part in kind.types if not isinstance(part, inspect.NoneType)]
    floats = [part for part in parts if isinstance(part, inspect.FloatType)]
    return (floats or parts)[0]


def _fields(kind: inspect.TypedDictType) -> list[pa.Field]:
    """Return the Arrow fields of a TypedDict, in its order."""
    return [_field(f.encode_name, f.type) for f in kind.fields]


EVENT_KIND = cast(inspect.TypedDictType, inspect.type_info(Event))
# Without the id, which is resolved earlier and has its own column.
EVENT_TYPE = pa.struct([field for field in _fields(EVENT_KIND) if field.name != "id"])
BODY_TYPE = pa.struct(
    [f.with_type(pa.string()) if f.type == TIME else f for f in _fields(EVENT_KIND)]
)
"""An event as in JSON: dates are texts, and the id is a field."""
RECORD_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("event_time", TIME, nullable=False),
        pa.field("key_time", TIME, nullable=False),
        pa.field("received_at", TIME, nullable=False),
        pa.field("event", EVENT_TYPE, nullable=False),
    ]
)
TEXT_SCHEMA = RECORD_SCHEMA.set(4, pa.field("text", pa.binary(), nullable=False))


def conform(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Convert a record batch that an earlier version wrote to the fields of the current version."""
    if batch.schema.equals(RECORD_SCHEMA) or batch.schema.equals(TEXT_SCHEMA):
        return batch
    arrays = [
        _conform(array, field.type) for array, field in zip(batch, RECORD_SCHEMA, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=RECORD_SCHEMA)


def _conform(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type.equals(kind):
        return array
    if pa.types.is_struct(kind):
        children = [
            _conform(array.field(field.name), field.type)
            if array.type.get_field_index(field.name) >= 0
            else pa.nulls(len(array), field.type)
            for field in kind
        ]
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=array.is_null())
    values = _conform(array.values, kind.value_type)
    return pa.ListArray.from_arrays(array.offsets, values, type=kind, mask=array.is_null())


def _leaves(array: pa.Array, field: pa.Field) -> Iterator[tuple[pa.Field, Any]]:
    """Yield the leaf columns of `array`. Absent lists become empty, as Nested columns require."""
    if pa.types.is_struct(field.type):
        for child, values in zip(field.type, array.flatten(), strict=True):
            for leaf, column in _leaves(values, child):
                yield leaf.with_name(f"{field.name}_{leaf.name}"), column
    elif pa.types.is_list(field.type):
        # An absent list has no items, so its offsets already describe an empty list.
        offsets, item = array.offsets, field.type.value_field
        values = array.values
        if pa.types.is_struct(item.type):
            for child, child_values in zip(item.type, values.flatten(), strict=True):
                for leaf, column in _leaves(child_values, child):
                    column = pa.ListArray.from_arrays(offsets, column)
                    yield leaf.with_name(f"{field.name}.{leaf.name}").with_type(column.type), column
        else:
            yield field, pa.ListArray.from_arrays(offsets, values)
    else:
        yield field, array


def _columns(batch: pa.RecordBatch) -> Iterator[tuple[pa.Field, Any]]:
    for field, array in zip(RECORD_SCHEMA, batch.columns, strict=True):
        if field.name != "event":
            yield field, array
            continue
        for child, values in zip(EVENT_TYPE, array.flatten(), strict=True):
            yield from _leaves(values, child)


TABLE_SCHEMA = pa.schema(
    [field for field, _ in _columns(pa.RecordBatch.from_pylist([], schema=RECORD_SCHEMA))]
)
"""The columns of the table, in order, with `LOW_CARDINALITY` and `NULLABLE` as metadata."""


def to_columns(batches: Sequence[pa.RecordBatch]) -> pa.Table:
    """Convert record batches of `RECORD_SCHEMA` to one table of `TABLE_SCHEMA`, rows in order."""
    batch = pa.Table.from_batches(list(batches), schema=RECORD_SCHEMA).combine_chunks()
    [merged] = batch.to_batches() or [pa.RecordBatch.from_pylist([], schema=RECORD_SCHEMA)]
    return pa.Table.from_arrays([column for _, column in _columns(merged)], schema=TABLE_SCHEMA)
