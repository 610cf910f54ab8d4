"""Check the messages of an Arrow IPC stream before Arrow reads their contents.

A message states how large its buffers are once they are decompressed, and Arrow allocates what it
states. So these numbers are checked first. Arrow itself verifies the structure of each message
before it returns the message here, so its parts can be read without further checks.

The names and numbers of the parts are from Arrow's format/Message.fbs and format/Schema.fbs.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
from flatbuffers import number_types
from flatbuffers.encode import Get
from flatbuffers.packer import uoffset
from flatbuffers.table import Table

from ingest.errors import PayloadError, TooLargeError
from ingest.parsing.strict_json import check_count

MESSAGES_MAX = 1_024
"""Maximum messages in a stream: dictionaries and record batches. Each costs some time."""
METADATA_BYTES_MAX = 1024 * 1024
"""Maximum size of the metadata of one message, such as the schema."""

_FIRST_FIELD, _FIELD_BYTES = 4, 2
"""Where the offsets of a table's fields are in its vtable."""
_BATCHES = ("record batch", "dictionary")
_MESSAGE_HEADER = 2
_DICTIONARY_DATA = 1
_BATCH_LENGTH, _BATCH_BUFFERS, _BATCH_COMPRESSION = 0, 2, 3
_BUFFER = struct.Struct("<qq")
"""Offset and length of a buffer."""
_UNCOMPRESSED_BYTES = struct.Struct("<q")
"""Stands before each compressed buffer; -1 if this buffer is not compressed."""
_END_MARKERS = (b"\xff\xff\xff\xff\0\0\0\0", b"\0\0\0\0")
"""The end of a stream, and its form before Arrow 0.15."""


def check_stream(stream: pa.Buffer, *, bytes_max: int, rows_max: int) -> None:
    """Check the sizes that a stream states, and that it is complete.

    Args:
        stream: the whole stream.
        bytes_max: maximum bytes of all buffers, decompressed.
        rows_max: maximum rows of all record batches.

    Raises:
        PayloadError: the stream is cut off, or too large in its structure.
        TooLargeError: it has too many rows or bytes.
        pa.ArrowException, OSError: Arrow can't read a message.
    """
    rows = size = 0
    for number, message in enumerate(_messages(stream)):
        if number > MESSAGES_MAX:
            raise PayloadError(f"The stream has more than {MESSAGES_MAX} messages")
        if message.metadata.size > METADATA_BYTES_MAX:
            raise PayloadError(f"A message has more than {METADATA_BYTES_MAX} bytes of metadata")
        if message.type == "schema":
            continue
        if message.type not in _BATCHES:
            raise PayloadError(f"The stream has a message of type {message.type}")
        batch = _Batch.of(message)
        size += batch.decompressed_bytes()
        if message.type == "record batch":
            rows += batch.rows
        check_count(rows, rows_max)
        if size > bytes_max:
            raise TooLargeError(f"Decompressed body is larger than {bytes_max} bytes")


def _messages(stream: pa.Buffer) -> Iterator[pa.Message]:
    source = pa.BufferReader(stream)
    reader = pa.ipc.MessageReader.open_stream(source)
    while True:
        start = source.tell()
        try:
            message = reader.read_next_message()
        except StopIteration:
            break
        yield message
    end = stream.slice(start).to_pybytes() if stream.size - start <= 8 else b""
    if source.tell() < stream.size or (stream.size > start and end not in _END_MARKERS):
        raise PayloadError("There are bytes after the end of the stream")
    if not end:
        raise PayloadError("The stream is cut off: its end marker is missing; close its writer")


@dataclass(frozen=True, slots=True)
class _Batch:
    """A record batch, or the values of a dictionary.

    Attributes:
        rows: number of rows.
        buffers: offset and length of each buffer in the body.
        is_compressed: whether the buffers are compressed.
        body: the bytes of all buffers.
    """

    rows: int
    buffers: list[tuple[int, int]]
    is_compressed: bool
    body: memoryview

    @classmethod
    def of(cls, message: pa.Message) -> "_Batch":
        metadata = memoryview(message.metadata)
        root = Table(metadata, Get(uoffset, metadata, 0))
        batch = _child(root, _MESSAGE_HEADER)
        if message.type == "dictionary":
            batch = _child(batch, _DICTIONARY_DATA)
        at = _field(batch, _BATCH_LENGTH)
        rows = batch.Get(number_types.Int64Flags, batch.Pos + at) if at else 0
        return cls(
            rows,
            list(_buffers(batch, metadata)),
            bool(_field(batch, _BATCH_COMPRESSION)),
            memoryview(message.body or b""),
        )

    def decompressed_bytes(self) -> int:
        """Return the size of all buffers, as they are stated.

        Raises:
            PayloadError: a size or an offset is not possible.
        """
        total = 0
        for offset, length in self.buffers:
            if offset < 0 or length < 0 or offset + length > len(self.body):
                raise PayloadError("A buffer of the stream is outside of its message")
            size = -1
            if self.is_compressed and length:
                if length < _UNCOMPRESSED_BYTES.size:
                    raise PayloadError("A compressed buffer of the stream has no size")
                [size] = _UNCOMPRESSED_BYTES.unpack_from(self.body, offset)
            if size < -1:
                raise PayloadError("A compressed buffer of the stream has a negative size")
            total += length if size == -1 else size
        return total


def _field(table: Table, number: int) -> int:
    """Return where a field is, relative to its table; 0 if it is absent."""
    return int(table.Offset(_FIRST_FIELD + _FIELD_BYTES * number))


def _child(table: Table, number: int) -> Table:
    at = _field(table, number)
    if not at:
        raise PayloadError("A message of the stream is incomplete")
    return Table(table.Bytes, table.Indirect(table.Pos + at))


def _buffers(batch: Table, metadata: memoryview) -> Iterator[tuple[int, int]]:
    at = _field(batch, _BATCH_BUFFERS)
    if not at:
        return
    start = batch.Vector(at)
    for number in range(batch.VectorLen(at)):
        yield _BUFFER.unpack_from(metadata, start + number * _BUFFER.size)
