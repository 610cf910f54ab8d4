"""Arrow streams of the wrong kind, or that describe much with few bytes.

`TOO_MUCH` has the status, and the stream, by what is wrong with it. The streams in `ODD` are right.
"""

import io
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.end_to_end.arrow_messages import (
    END,
)
from tests.end_to_end.arrow_mutations import events, rich, written

MIB = 1024 * 1024
INT32_MAX = 2**31 - 1
PLAIN = written(events())


def _long_text(kind: str) -> bytes:
    one = pa.array(["x" * MIB])
    if kind == "views":
        view = one.cast(pa.string_view()).buffers()
        repeated = pa.py_buffer(view[1].to_pybytes() * 10_000)
        views = pa.Array.from_buffers(pa.string_view(), 10_000, [None, repeated, *view[2:]])
        return written(events(pa.array(["a"] * 10_000), user_id=views))
    if kind == "nested":
        texts = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int8()), one)
        params = pa.StructArray.from_arrays([texts], ["key"])
        lists = pa.ListArray.from_arrays(pa.array([0, 100_000], pa.int32()), params)
        return written(events(pa.array(["a"]), event_params=lists))
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int8()), one)
    return written(events(pa.array(["a"] * 10_000), user_id=texts))


def _listed(values: pa.Array, field: str) -> bytes:
    """Return one event, with all values as a field of its params."""
    params = pa.StructArray.from_arrays([values], [field])
    lists = pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), params)
    return written(events(pa.array(["a"]), event_params=lists), compression="zstd")


def _many_views() -> pa.Array:
    _, one, *data = pa.array(["é" * 2**19], pa.string_view()).buffers()
    assert one is not None
    many = pa.py_buffer(one.to_pybytes() * 100_000)
    return pa.Array.from_buffers(pa.string_view(), 100_000, [None, many, *data])


def _long_dictionary() -> bytes:
    codes = pa.array([None] * 1_000, pa.int8())
    texts = pa.DictionaryArray.from_arrays(codes, pa.array(["é" * MIB]))
    whole = events(pa.array(["a"] * 1_000), user_id=texts)
    return written(*[whole.slice(row, 1) for row in range(1_000)])


def _batches(count: int, rows: int, *, deltas: bool = False) -> bytes:
    whole = events(pa.array([f"b{n}" for n in range(rows or 1)]))
    batches = [whole.slice(0, rows)] * count
    if deltas:
        words = pa.array([f"w{n}" for n in range(count)])
        batches = [
            events(
                pa.array(["a"]), user_id=pa.DictionaryArray.from_arrays([n], words.slice(0, n + 1))
            )
            for n in range(count)
        ]
    return written(*batches, emit_dictionary_deltas=deltas)


def _much_nothing(kind: str) -> bytes:
    nothing = pa.nulls(INT32_MAX)
    if kind == "fixed":
        lists = pa.FixedSizeListArray.from_arrays(nothing, INT32_MAX)
    else:
        lists = pa.ListArray.from_arrays(pa.array([0, INT32_MAX], pa.int32()), nothing)
    return written(events(pa.array(["a"]), event_params=lists))


def _deep(depth: int, name: str) -> bytes:
    array = pa.array([1])
    for _ in range(depth):
        array = pa.StructArray.from_arrays([array], ["a"])
    return written(events(pa.array(["a"]), **{name: array}))


def _wide(columns: int) -> bytes:
    names = [f"c{number}" for number in range(columns)]
    return written(pa.record_batch([pa.nulls(1)] * columns, names=names))


def _twice() -> bytes:
    texts = pa.array(["a"])
    return written(pa.record_batch([texts] * 3, names=["name", "channel_type", "name"]))


def _twice_inside() -> bytes:
    param = pa.StructArray.from_arrays([pa.array(["a"])] * 2, ["key", "key"])
    lists = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), param)
    return written(events(pa.array(["a"]), event_params=lists))


def _described(metadata: Mapping[bytes, bytes]) -> bytes:
    return written(events().replace_schema_metadata(dict(metadata)))


def _file(write: Callable[[Any, pa.Table], None]) -> bytes:
    sink = io.BytesIO()
    write(sink, pa.table(events()))
    return sink.getvalue()


def _arrow_file(sink: Any, table: pa.Table) -> None:
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _column(array: pa.Array, name: str = "user_id") -> bytes:
    return written(events(pa.array(["a"] * len(array)), **{name: array}))


def _extension(name: bytes, data: bytes, kind: pa.DataType) -> bytes:
    metadata = {b"ARROW:extension:name": name, b"ARROW:extension:metadata": data}
    users = pa.field("user_id", kind, metadata=metadata)
    base = events()
    schema = pa.schema([*base.schema, users])
    values = pa.array(["x"] * 3).cast(kind)
    return written(pa.RecordBatch.from_arrays([*base.columns, values], schema=schema))


def _expanding() -> bytes:
    zeros = pa.array(np.zeros(2 * MIB))
    columns = {f"c{number}": zeros for number in range(20)}
    batch = pa.record_batch({**columns, "name": pa.nulls(2 * MIB)})
    return written(batch.slice(0, 2 * MIB), compression="zstd")


def _expanding_lists() -> bytes:
    """Few rows, whose lists decompress to 16 MiB a column."""
    one = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(2 * MIB)), 2 * MIB)
    columns = {f"c{number}": one for number in range(20)}
    return written(events(pa.array(["a"]), **columns), compression="lz4")


class Runs:
    """Unpickled, it would leave a trace."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('unpickled')",)


def _union() -> pa.Array:
    codes = pa.array([0], pa.int8())
    return pa.UnionArray.from_sparse(codes, [pa.array(["a"])], ["a"])


def _nested_codes() -> pa.Array:
    codes = pa.array([0], pa.int8())
    inner = pa.DictionaryArray.from_arrays(codes, pa.array(["a"]))
    return pa.DictionaryArray.from_arrays(codes, inner)


TOO_MUCH: Mapping[str, tuple[int, Callable[[], bytes]]] = {
    "a long text by a dictionary": (413, lambda: _long_text("dictionary")),
    "a long text by a dictionary in lists": (413, lambda: _long_text("nested")),
    "a long text by views": (413, lambda: _long_text("views")),
    "too many dictionaries": (400, lambda: _batches(600, 1, deltas=True)),
    "a nested dictionary": (400, lambda: _column(_nested_codes())),
    "a fixed-size list of 2^31 nulls": (413, lambda: _much_nothing("fixed")),
    "a list of 2^31 nulls": (413, lambda: _much_nothing("list")),
    "3,000,000 params": (413, lambda: _listed(pa.nulls(3_000_000), "key")),
    "100,000 views of 1 MiB": (413, lambda: _listed(_many_views(), "unknown")),
    "1,000 batches that refer to 2 MiB": (413, _long_dictionary),
    "100,000 columns": (400, lambda: _wide(100_000)),
    "no known column": (400, lambda: _wide(10)),
    "a column twice": (400, _twice),
    "a field of a struct twice": (400, _twice_inside),
    "2 MB of metadata": (400, lambda: _described({b"k": b"v" * 2 * MIB})),
    "no end": (400, lambda: PLAIN.removesuffix(END)),
    "a byte after the end": (400, lambda: PLAIN + b"\0"),
    "two streams": (400, lambda: PLAIN + PLAIN),
    "Parquet": (400, lambda: _file(lambda sink, table: pq.write_table(table, sink))),
    "an Arrow file": (400, lambda: _file(_arrow_file)),
    "JSON": (400, lambda: b'{"events":[{"name":"a","channel_type":"web"}]}'),
    "nothing": (400, lambda: b""),
    "only an end": (400, lambda: END),
    "zeros": (400, lambda: bytes(1_000)),
    "a union": (400, lambda: _column(_union())),
    "runs": (400, lambda: _column(pa.RunEndEncodedArray.from_arrays([1], ["a"]))),
    "a list view": (400, lambda: _column(pa.array([[]], pa.list_view(pa.null())), "items")),
    "a duration": (400, lambda: _column(pa.array([1], pa.duration("s")), "timestamp")),
    "binary": (400, lambda: _column(pa.array([b"a"]))),
    "a UUID": (400, lambda: _column(pa.array([b"a" * 16], pa.uuid()), "id")),
    "text for a number": (400, lambda: _column(pa.array(["1"]), "timestamp")),
    "a number for a text": (400, lambda: _column(pa.array([1]))),
    "5,000 empty batches": (400, lambda: _batches(5_000, 0)),
    "10,001 rows": (413, lambda: _batches(1, 10_001)),
    "10,001 rows in batches": (413, lambda: _batches(73, 137)),
    "2^21 rows of zeros": (413, _expanding),
    "columns that expand": (413, _expanding_lists),
}  # fmt: skip

ODD: Mapping[str, Callable[[], bytes]] = {
    "a struct without fields": lambda: _column(pa.array([{}], pa.struct([])), "device"),
    "dictionaries by the hundred": lambda: _batches(300, 1, deltas=True),
    "hundreds of batches": lambda: _batches(1_000, 2),
    "an unknown type 20 deep": lambda: _deep(20, "other"),
    "1,000 unknown columns": lambda: written(
        events(pa.array(["a"]), **{f"c{number}": pa.nulls(1) for number in range(1_000)})
    ),
    "a pickle for a type": lambda: _extension(
        b"arrow.py_extension_type", pickle.dumps(Runs()), pa.string()
    ),
    "an unknown type of texts": lambda: _extension(b"../../etc/passwd\0", b"\xff", pa.string()),
    "every kind of value": lambda: written(rich(), compression="zstd"),
}
