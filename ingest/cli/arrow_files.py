"""Read Parquet and Arrow files, as bodies that are Arrow IPC streams.

Row number `i` is in the same body each time, if the batch size is the same: rows are counted in
batches from the start of the file, and a batch that is too large for the service is halved. How the
file is divided into row groups or record batches does not matter.

Row groups and record batches before the first row that is wanted are not read.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingest.cli.event_files import SourceError, check_skip
from ingest.cli.loader import Body, idempotency_key
from ingest.errors import PayloadError, TooLargeError
from ingest.event.arrow import BODY_TYPE
from ingest.parsing.arrow_stream.columns import REQUIRED, Budget, plain_columns
from ingest.parsing.formats import ARROW_TYPE

BODY_BYTES_MAX = 13 * 1024 * 1024
"""Maximum size of a body before compression, and of its columns. The service takes 16 MiB."""

_FIELDS = [field.name for field in BODY_TYPE]
_READ_BYTES = 1024 * 1024
# PERF: LZ4 makes bodies of generated events 2.2 times as small, in no measurable time.
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file.

    Attributes:
        rows: number of rows.
        parts: number of rows of each row group or record batch.
        read: returns the rows from a part on. Its arguments are the number of the part, and about
            how many rows a record batch should have.
    """

    rows: int
    parts: list[int]
    read: Callable[[int, int], Iterator[pa.RecordBatch]]

    def bodies(self, size: int, skip: int) -> Iterator[Body]:
        """Return the bodies of the file.

        Args:
            size: rows of a body.
            skip: number of rows to leave out at the start.

        Raises:
            SourceError: the file is damaged, or no body begins at `skip`. Iterating raises it, too.
        """
        check_skip(skip <= self.rows)
        start = skip // size * size
        part = first = 0
        while part < len(self.parts) and first + self.parts[part] <= start:
            first += self.parts[part]
            part += 1
        return _bodies(_without(self.read(part, size), start - first), size, start, skip)


def open_parquet(path: str) -> Table:
    """Open a Parquet file.

    Raises:
        SourceError: it is damaged, or no column is a field of an event.
    """
    with _explained():
        # Without a buffer Arrow reads a whole row group at a time.
        file = pq.ParquetFile(path, buffer_size=_READ_BYTES, pre_buffer=False)
        columns = _columns(file.schema_arrow)
        groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]

    def read(part: int, size: int) -> Iterator[pa.RecordBatch]:
        wanted = range(part, len(groups))
        for batch in file.iter_batches(size, row_groups=wanted, columns=columns) if wanted else ():
            yield batch.select(columns)  # a column `device.x` was read with `device`

    return Table(sum(groups), groups, read)


def open_arrow_file(path: str) -> Table:
    """Open an Arrow file, which is Feather version 2, too.

    Raises:
        SourceError: it is damaged, or no column is a field of an event.
    """
    with _explained():
        source = pa.memory_map(path)
        schema = pa.ipc.open_file(source).schema
        indexes = [schema.get_field_index(name) for name in _columns(schema)]
        # The format has no index of row counts, so one column is read for them.
        one = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=indexes[:1]))
        parts = [one.get_batch(i).num_rows for i in range(one.num_record_batches)]
        file = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=indexes))

    def read(part: int, _size: int) -> Iterator[pa.RecordBatch]:
        return (file.get_batch(i) for i in range(part, len(parts)))

    return Table(sum(parts), parts, read)


def stream_bodies(stream: BinaryIO, size: int, skip: int) -> Iterator[Body]:
    """Return the bodies of an Arrow stream; see `Table.bodies`."""
    with _explained():
        reader = pa.ipc.open_stream(stream)
        columns = _columns(reader.schema)
    start = skip // size * size
    batches = (batch.select(columns) for batch in reader)
    return _bodies(_without(batches, start), size, start, skip)


def _columns(schema: pa.Schema) -> list[str]:
    """Return the names of the columns to send.

    Raises:
        SourceError: there are none, or two have the same name.
    """
    names = [name for name in schema.names if name in _FIELDS]
    if not names:
        required = " and ".join(REQUIRED)
        others = ", ".join(name for name in _FIELDS if name not in REQUIRED)
        raise SourceError(
            f"No column of the file is a field of an event. Its columns are"
            f" {', '.join(schema.names) or 'none'}. Needed are {required}; there may also be"
            f" {others}. Rename the columns"
        )
    if twice := [name for name in _FIELDS if names.count(name) > 1]:
        raise SourceError(f"The file has two columns {twice[0]}. Rename or remove one")
    return names


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise SourceError(
            f"The file is damaged, cut off or not supported: {reason}. Write or copy it again"
        ) from error


def _without(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Leave out the first rows."""
    for batch in batches:
        if rows < batch.num_rows:
            yield batch.slice(rows)
        rows = max(0, rows - batch.num_rows)


def _bodies(batches: Iterator[pa.RecordBatch], size: int, first: int, skip: int) -> Iterator[Body]:
    """Yield the bodies from position `skip` on. The first row of `batches` is at `first`."""
    with _explained():
        for rows in _in_batches(batches, size):
            for piece in _pieces(rows, first):
                end = first + piece.num_rows
                if end > skip:
                    check_skip(first >= skip)
                    yield _body(piece, first)
                first = end


def _in_batches(batches: Iterator[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """Yield tables of `size` rows; the last may be shorter."""
    parts: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        batch.validate(full=True)
        batch = _plain_dictionaries(batch)
        start = 0
        while start < batch.num_rows:
            part = batch.slice(start, size - rows)
            parts.append(part)
            start += part.num_rows
            rows += part.num_rows
            if rows == size:
                yield pa.Table.from_batches(parts)
                parts, rows = [], 0
    if parts:
        yield pa.Table.from_batches(parts)


def _pieces(rows: pa.Table, first: int) -> Iterator[pa.RecordBatch]:
    """Yield rows as record batches without encodings: one, or halves if it would be too large.

    Without that, a slice of views or of a dictionary has the texts of all rows of the file.
    """
    budget = Budget(BODY_BYTES_MAX)
    try:
        # Concatenated first, because `plain_columns` takes no slices.
        parts = [pa.concat_batches([_plain_ids(part)]) for part in rows.to_batches()]
        plain = [plain_columns(part, budget) for part in parts]
        piece = pa.RecordBatch.from_struct_array(pa.concat_arrays(plain))
    except TooLargeError as error:
        if len(rows) == 1:
            raise SourceError(f"Row {first + 1:,} of the file is too large: {error}") from error
    except PayloadError as error:
        raise SourceError(f"The file has a column of another type: {error}") from error
    else:
        if len(rows) == 1 or pa.ipc.get_record_batch_size(piece) <= BODY_BYTES_MAX:
            yield piece
            return
    half = len(rows) // 2
    yield from _pieces(rows.slice(0, half), first)
    yield from _pieces(rows.slice(half), first + half)


def _plain_ids(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a record batch with texts instead of UUIDs, which DuckDB has as a type."""
    for index, array in enumerate(batch.columns):
        if array.type == pa.uuid():
            texts = [None if value is None else str(value) for value in array.to_pylist()]
            batch = batch.set_column(index, batch.schema.names[index], pa.array(texts, pa.string()))
    return batch


def _plain_dictionaries(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a record batch whose dictionaries have plain texts; polars and pandas write others.

    All slices of a record batch share its dictionaries, so this is done before it is sliced.
    """
    for index, array in enumerate(batch.columns):
        kind = array.type
        if pa.types.is_dictionary(kind) and kind.value_type in (
            pa.string_view(),
            pa.large_string(),
        ):
            texts = pa.DictionaryArray.from_arrays(
                array.indices, array.dictionary.cast(pa.string())
            )
            batch = batch.set_column(index, batch.schema.names[index], texts)
    return batch


def _body(batch: pa.RecordBatch, first: int) -> Body:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_COMPRESSED) as writer:
        writer.write_batch(batch)
    key = idempotency_key(first, _content(batch.to_struct_array()))
    return Body(sink.getvalue().to_pybytes(), ARROW_TYPE, first, batch.num_rows, key, noun="Row")


def _content(array: pa.Array) -> Iterator[bytes | memoryview]:
    """Yield what a plain array holds, as bytes that do not depend on how it holds it.

    The bytes of a body would not do: they may differ between versions of Arrow, and Arrow does not
    say what stands in the place of a null.
    """
    kind, types = array.type, pa.types
    yield b"%d %d\n" % (len(array), array.null_count)
    if array.null_count:
        yield _values(array.is_valid().cast(pa.uint8()), 1)
        array = array.drop_null()
    if types.is_struct(kind):
        for field, child in zip(kind, array.flatten(), strict=True):
            yield field.name.encode()
            yield from _content(child)
    elif types.is_list(kind):
        yield _values(pc.list_value_length(array), 4)
        yield from _content(array.flatten())
    elif types.is_string(kind):
        yield _values(pc.binary_length(array), 4)
        _, offsets, characters = array.buffers()
        if len(array) and characters is not None:
            ends = memoryview(offsets).cast("i")
            yield memoryview(characters)[ends[array.offset] : ends[array.offset + len(array)]]
    elif types.is_boolean(kind):
        yield _values(array.cast(pa.uint8()), 1)
    elif not types.is_null(kind):
        yield str(kind).encode()
        yield _values(array, kind.bit_width // 8)


def _values(array: pa.Array, width: int) -> bytes | memoryview:
    buffer = array.buffers()[1]
    if buffer is None:
        return b""
    return memoryview(buffer)[array.offset * width : (array.offset + len(array)) * width]
