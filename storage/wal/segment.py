"""The file format of a WAL segment, and a reader that skips damaged parts.

All numbers are little-endian. A segment is a file header, followed by records.

- The file header has a magic number, the length and CRC of the schema, and the Arrow schema.
- A record is a header and a payload. The header has a mark, the payload bytes, the sequence number,
  the rows, the CRC of the payload and the CRC of the header itself.
- The payload is one record batch, as an Arrow IPC message. If its schema differs from the schema in
  the file header, it is an Arrow IPC stream, which begins with its own schema.

After a damaged payload, the header still says where the next record begins. After a damaged header,
the reader searches for the next mark.
"""

import mmap
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import pyarrow as pa

from storage.ipc_memory import IpcMemory

MAGIC = b"EVENTWAL"
MARK = b"\xf5REC"
FILE_HEADER = struct.Struct("<8sII")  # magic, schema bytes, schema CRC
RECORD_HEADER = struct.Struct("<4sIQII")  # mark, payload bytes, sequence, rows, payload CRC
HEADER_CRC = struct.Struct("<I")
RECORD_HEADER_BYTES = RECORD_HEADER.size + HEADER_CRC.size


class DamagedError(Exception):
    """A segment or a record differs from what was written, or is empty."""


@dataclass(frozen=True, slots=True)
class Record:
    """The place of one record in a segment.

    Attributes:
        sequence: sequence number of the record.
        rows: rows of its record batch.
        offset: byte at which its payload begins.
        bytes: size of its payload.
        crc: CRC of its payload.
    """

    sequence: int
    rows: int
    offset: int
    bytes: int
    crc: int

    @property
    def end(self) -> int:
        """The byte after the payload."""
        return self.offset + self.bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """A part of a segment that is not a complete record.

    Attributes:
        offset: byte at which the part begins.
        bytes: size of the part.
        torn: whether the part reaches to the end of the file. An interrupted append leaves such a
            part.
    """

    offset: int
    bytes: int
    torn: bool


def file_header(schema: pa.Schema) -> bytes:
    """Return the file header of a segment whose record batches have `schema`."""
    data: bytes = schema.serialize().to_pybytes()
    return FILE_HEADER.pack(MAGIC, len(data), zlib.crc32(data)) + data


def record_header(record: Record) -> bytes:
    """Return the header that precedes the payload of `record`."""
    head = RECORD_HEADER.pack(MARK, record.bytes, record.sequence, record.rows, record.crc)
    return head + HEADER_CRC.pack(zlib.crc32(head))


def to_payloads(
    batches: Sequence[pa.RecordBatch], schema: pa.Schema, memory: IpcMemory
) -> list[memoryview]:
    """Serialize record batches.

    Args:
        batches: the record batches.
        schema: the schema in the file header.
        memory: holds the payloads until its next use.
    """
    is_same = [batch.schema.equals(schema) for batch in batches]
    same = list(compress(batches, is_same))
    messages = iter(memory.messages(schema, same) if same else ())
    return [
        next(messages) if is_message else _stream(batch)
        for batch, is_message in zip(batches, is_same, strict=True)
    ]


def _stream(batch: pa.RecordBatch) -> memoryview:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return memoryview(sink.getvalue())


class SegmentReader:
    """Reads a segment. It does not see bytes that are appended after it was created."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        """Map the file into memory, and read its header.

        Args:
            path: the segment.
            schema: used when the file header, which has the schema of the segment, is damaged.

        Raises:
            DamagedError: the file is empty.
            OSError: the file can't be read.
        """
        self.path = path
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise DamagedError(f"{path.name} is empty")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._data = pa.py_buffer(self._map)
        self._size: int = self._data.size
        self._schema, self._start = schema, 0
        if self._size >= FILE_HEADER.size:
            magic, size, crc = FILE_HEADER.unpack_from(self._map)
            own = self._slice(FILE_HEADER.size, size)
            if magic == MAGIC and own.size == size and zlib.crc32(own) == crc:
                self._schema, self._start = pa.ipc.read_schema(own), FILE_HEADER.size + size

    def holds(self, record: Record) -> bool:
        """Return whether this reader sees the whole record."""
        return record.end <= self._size

    def scan(self) -> Iterator[Record | Damage]:
        """Yield every record and every damaged part, in the order of the file."""
        at, end = self._start, self._size
        while at < end:
            record = self._record_at(at)
            if record is not None and self._whole(record):
                yield record
                at = record.end
                continue
            # An intact header says where the next record begins. Otherwise search for its mark.
            following = min(record.end, end) if record is not None else self._find(at + 1)
            yield Damage(at, following - at, torn=following == end)
            at = following

    def read(self, record: Record) -> pa.RecordBatch:
        """Read one record.

        Raises:
            DamagedError: the record is damaged.
        """
        if not self._whole(record):
            raise DamagedError(f"Record {record.sequence} of {self.path.name} is damaged")
        try:
            payload = self._slice(record.offset, record.bytes)
            if pa.ipc.read_message(payload).type == "schema":
                return pa.ipc.open_stream(payload).read_next_batch()
            return pa.ipc.read_record_batch(payload, self._schema)
        except pa.ArrowException as error:
            raise DamagedError(f"Record {record.sequence} of {self.path.name}: {error}") from error

    def _slice(self, offset: int, size: int) -> pa.Buffer:
        return self._data[offset : min(offset + size, self._data.size)]

    def _record_at(self, at: int) -> Record | None:
        if at + RECORD_HEADER_BYTES > self._size:
            return None
        head = self._map[at : at + RECORD_HEADER.size]
        [header_crc] = HEADER_CRC.unpack_from(self._map, at + RECORD_HEADER.size)
        mark, size, sequence, rows, crc = RECORD_HEADER.unpack(head)
        if mark != MARK or zlib.crc32(head) != header_crc:
            return None
        return Record(sequence, rows, at + RECORD_HEADER_BYTES, size, crc)

    def _whole(self, record: Record) -> bool:
        payload = self._slice(record.offset, record.bytes)
        return bool(payload.size == record.bytes and zlib.crc32(payload) == record.crc)

    def _find(self, at: int) -> int:
        """Return where the next record with an intact header begins, or the end of the file."""
        while (at := self._map.find(MARK, at)) >= 0:
            if self._record_at(at) is not None:
                return at
            at += 1
        return self._size
