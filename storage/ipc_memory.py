"""Serialize Arrow data in memory that is kept from one use to the next.

PERF: an insert has up to 64 MB and a WAL record of a large batch 5 MB. To get that much from the
operating system, page by page, and to return it takes several times as long as to fill it.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pyarrow as pa

_KEPT_BYTES_MAX = 64 * 1024 * 1024
_HEADER_BYTES_MAX = 64
"""What compression can add to one buffer that it does not make smaller."""


class IpcMemory:
    """Memory for one result at a time: it is valid until the next call. Not thread-safe."""

    def __init__(
        self,
        compression: str | None = None,
        allocate: Callable[[int], pa.Buffer] = pa.allocate_buffer,
    ) -> None:
        """Start without memory.

        Args:
            compression: of the columns: "lz4", "zstd" or None.
            allocate: returns memory of that many bytes, which can be changed.
        """
        self._allocate = allocate
        self._memory = allocate(0)
        self._compression = compression

    @property
    def size(self) -> int:
        """The size of the memory that is kept, in bytes."""
        return int(self._memory.size)

    def stream(self, rows: pa.Table) -> memoryview:
        """Return `rows` as an Arrow IPC stream.

        Raises:
            pa.ArrowException: the rows can't be serialized.
        """
        batches = rows.to_batches()
        ends = self._fill(rows.schema, batches)
        return memoryview(self._memory)[: ends[-1]]

    def messages(self, schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> list[memoryview]:
        """Return each record batch as an Arrow IPC message without a schema.

        Args:
            schema: the schema of all batches.
            batches: the record batches.
        """
        *ends, _ = self._fill(schema, batches)
        memory, schema_bytes = memoryview(self._memory), schema.serialize().size
        return [memory[start:end] for start, end in pairwise([schema_bytes, *ends])]

    def _fill(self, schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> list[int]:
        """Write a stream; return where each message, and the stream itself, ends."""
        size = pa.MockOutputStream()
        bytes_max = _write(size, schema, batches, None)[-1]
        if self._compression is not None:
            buffers = sum(len(column.buffers()) for batch in batches for column in batch.columns)
            bytes_max += buffers * _HEADER_BYTES_MAX
        if self._memory.size < bytes_max or self._memory.size > _KEPT_BYTES_MAX:
            self._memory = self._allocate(bytes_max)
        return _write(pa.FixedSizeBufferWriter(self._memory), schema, batches, self._compression)


def _write(
    sink: pa.NativeFile,
    schema: pa.Schema,
    batches: Sequence[pa.RecordBatch],
    compression: str | None,
) -> list[int]:
    options = pa.ipc.IpcWriteOptions(compression=compression, use_threads=False)
    ends = []
    with pa.ipc.new_stream(sink, schema, options=options) as stream:
        for batch in batches:
            stream.write_batch(batch)
            ends.append(sink.tell())
    return [*ends, sink.tell()]
