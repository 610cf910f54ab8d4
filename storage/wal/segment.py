"""One file of the write-ahead log: records with lengths and checksums, read back whatever happened.

Layout, little-endian: a file header (magic, length and CRC of the schema, the Arrow schema), then
records. A record is a header (mark, payload bytes, sequence number, rows, CRC of the payload, CRC
of the header itself) and a payload: one record batch as an Arrow IPC message or, when its schema is
not the file's, as a stream that begins with its own. The header's own CRC lets a reader step over a
damaged payload; the mark lets it find the next record after a damaged header.
"""

import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

MAGIC = b"EVENTWAL"
MARK = b"\xf5REC"
FILE_HEADER = struct.Struct("<8sII")  # magic, schema bytes, schema CRC
RECORD_HEADER = struct.Struct("<4sIQII")  # mark, payload bytes, sequence, rows, payload CRC
HEADER_CRC = struct.Struct("<I")
RECORD_HEADER_BYTES = RECORD_HEADER.size + HEADER_CRC.size


class DamagedError(Exception):
    """What is there is not what was written."""


@dataclass(frozen=True, slots=True)
class Record:
    """Where one record batch lies. offset, bytes: of its payload in the file."""

    sequence: int
    rows: int
    offset: int
    bytes: int
    crc: int

    @property
    def end(self) -> int:
        return self.offset + self.bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """A part of a segment that is no whole record. torn: it reaches to the end of the file, as an
    append does that was cut off."""

    offset: int
    bytes: int
    torn: bool


def file_header(schema: pa.Schema) -> bytes:
    data: bytes = schema.serialize().to_pybytes()
    return FILE_HEADER.pack(MAGIC, len(data), zlib.crc32(data)) + data


def record_header(record: Record) -> bytes:
    head = RECORD_HEADER.pack(MARK, record.bytes, record.sequence, record.rows, record.crc)
    return head + HEADER_CRC.pack(zlib.crc32(head))


def to_payload(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Buffer:
    """schema: of the file."""
    if batch.schema.equals(schema):
        return batch.serialize()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return sink.getvalue()


class SegmentReader:
    """Reads the part of a segment that was there when this was made."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        """schema: taken instead when the file header, which has the segment's own, is damaged.

        Raises DamagedError when the file is empty, OSError.
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
        """Whether the record was there when this was made."""
        return record.end <= self._size

    def scan(self) -> Iterator[Record | Damage]:
        """Every record and every damaged part, in the order of the file."""
        at, end = self._start, self._size
        while at < end:
            record = self._record_at(at)
            if record is not None and self._whole(record):
                yield record
                at = record.end
                continue
            # A header that holds tells where the next record begins; else look for its mark.
            following = min(record.end, end) if record is not None else self._find(at + 1)
            yield Damage(at, following - at, torn=following == end)
            at = following

    def read(self, record: Record) -> pa.RecordBatch:
        """Raises DamagedError when the record is not what it was."""
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
        """Where the next record with a sound header begins; the end when there is none."""
        while (at := self._map.find(MARK, at)) >= 0:
            if self._record_at(at) is not None:
                return at
            at += 1
        return self._size
