"""The bytes of Arrow streams, taken apart, changed by hand, and put together again."""

import io
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
from flatbuffers.builder import Builder

UTF8, STRUCT = 5, 13
END = b"\xff\xff\xff\xff\0\0\0\0"


@dataclass(frozen=True)
class Message:
    """A message of a stream.

    Attributes:
        kind: schema, record batch, or dictionary.
        metadata: a flatbuffer.
        body: its buffers.
    """

    kind: str
    metadata: bytes
    body: bytes

    def to_bytes(self) -> bytes:
        """Return the message as it is in a stream."""
        padded = self.metadata + bytes(-len(self.metadata) % 8)
        return struct.pack("<ii", -1, len(padded)) + padded + self.body

    def with_numbers(
        self, old: tuple[int, ...], new: tuple[int, ...], form: str = "q"
    ) -> "Message":
        """Return the message with numbers that stand together in its metadata replaced."""
        before, after = (struct.pack(f"<{len(n)}{form}", *n) for n in (old, new))
        assert self.metadata.count(before) >= 1, (old, self.metadata)
        return replace(self, metadata=self.metadata.replace(before, after, 1))

    def with_metadata(self, old: bytes, new: bytes) -> "Message":
        """Return the message with bytes of its metadata replaced, all of them."""
        assert old in self.metadata
        assert len(old) == len(new)
        return replace(self, metadata=self.metadata.replace(old, new))

    def with_body(self, at: int, new: bytes) -> "Message":
        """Return the message with bytes of its body replaced."""
        assert at + len(new) <= len(self.body)
        return replace(self, body=self.body[:at] + new + self.body[at + len(new) :])


def messages(stream: bytes) -> list[Message]:
    """Take a stream apart."""
    reader = pa.ipc.MessageReader.open_stream(io.BytesIO(stream))
    found = []
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return found
        body = message.body.to_pybytes() if message.body else b""
        found.append(Message(message.type, message.metadata.to_pybytes(), body))


def joined(parts: Iterable[Message]) -> bytes:
    """Put a stream together."""
    return b"".join(part.to_bytes() for part in parts) + END


def changed(stream: bytes, number: int, change: Callable[[Message], Message]) -> bytes:
    """Return a stream of which one message is changed; -1 is the last one."""
    parts = messages(stream)
    parts[number] = change(parts[number])
    return joined(parts)


def schema_message(
    columns: Mapping[str, int], *, depth: int = 0, big_endian: bool = False
) -> Message:
    """Return a schema that Arrow itself would not write.

    Args:
        columns: the type of each column, as a number of Arrow's format/Schema.fbs.
        depth: in how many structs each column is.
        big_endian: whether it says so.
    """
    builder = Builder()
    fields = []
    for name, kind in columns.items():
        field = _field(builder, name, kind, [])
        for _ in range(depth):
            field = _field(builder, name, STRUCT, [field])
        fields.append(field)
    children = _vector(builder, fields)
    builder.StartObject(4)
    builder.PrependInt16Slot(0, int(big_endian), 0)
    builder.PrependUOffsetTRelativeSlot(1, children, 0)
    schema = builder.EndObject()
    builder.StartObject(5)
    builder.PrependInt16Slot(0, 4, 0)
    builder.PrependUint8Slot(1, 1, 0)
    builder.PrependUOffsetTRelativeSlot(2, schema, 0)
    builder.Finish(builder.EndObject())
    return Message("schema", bytes(builder.Output()), b"")


def _field(builder: Builder, name: str, kind: int, children: list[int]) -> int:
    text, inner = builder.CreateString(name), _vector(builder, children)
    builder.StartObject(0)
    options = builder.EndObject()
    builder.StartObject(7)
    builder.PrependUOffsetTRelativeSlot(0, text, 0)
    builder.PrependUint8Slot(2, kind, 0)
    builder.PrependUOffsetTRelativeSlot(3, options, 0)
    builder.PrependUOffsetTRelativeSlot(5, inner, 0)
    return builder.EndObject()


def _vector(builder: Builder, tables: list[int]) -> int:
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return builder.EndVector()
