"""Arrow streams that lie: each was right before some of its bytes were changed.

`LYING` has the status, and the stream, by what is wrong with it.
"""

import struct
from collections.abc import Callable, Mapping

import pyarrow as pa

from tests.end_to_end.arrow_messages import (
    UTF8,
    Message,
    changed,
    joined,
    messages,
    schema_message,
)
from tests.end_to_end.arrow_mutations import events, written

TIB = 2**40
INT32_MAX = 2**31 - 1
LONG = "a text of more than twelve bytes"
BATCH, DICTIONARY = -1, 1
"""Which message of a stream is changed: the last one, or the one after the schema."""
PLAIN = written(events())
"""The buffers of its record batch: offsets at 0, names at 16, offsets at 48, types at 64."""
VIEWS = written(events(user_id=pa.array([LONG] * 3, pa.string_view())))
NUMBERED = written(events(user_id=pa.array([1, 2, 1]).dictionary_encode()))
CODES = written(events(user_id=pa.array(["a", "b", "a"]).dictionary_encode()))


def _numbers(stream: bytes, number: int, old: tuple[int, ...], new: tuple[int, ...]) -> bytes:
    return changed(stream, number, lambda message: message.with_numbers(old, new))


def _body(stream: bytes, number: int, at: int, new: bytes) -> bytes:
    return changed(stream, number, lambda message: message.with_body(at, new))


def _views(number: int, *fields: int) -> bytes:
    """A view says its length, the first four bytes, the buffer, and the offset there."""
    body = messages(VIEWS)[BATCH].body
    at = body.index(struct.pack("<i", len(LONG)) + LONG[:4].encode()) + 16 * number
    return _body(VIEWS, BATCH, at, struct.pack("<i4sii", fields[0], LONG[:4].encode(), *fields[1:]))


def _compressed(size: int, kind: str = "zstd") -> bytes:
    """State the decompressed size of a compressed buffer."""
    names = pa.array(["a" * 1_000] * 100)
    stream = written(events(names), compression=kind)
    body, true_size = messages(stream)[BATCH].body, struct.pack("<q", 100_000)
    at = next(n for n in range(0, len(body), 8) if body[n : n + 8] == true_size)
    return _body(stream, BATCH, at, struct.pack("<q", size))


def _nulls(rows: int, *, times: int = 3) -> bytes:
    """State the number of rows of a batch without buffers, and of its two columns."""
    schema, batch = messages(written(pa.record_batch({"name": pa.nulls(77), "id": pa.nulls(77)})))
    for _ in range(times):
        batch = batch.with_numbers((77,), (rows,))
    return joined([schema, batch])


def _big_endian() -> bytes:
    schema = schema_message({"name": UTF8, "channel_type": UTF8}, big_endian=True)
    return joined([schema, *messages(PLAIN)[1:]])


def _deep(name: str) -> bytes:
    return joined([schema_message({name: UTF8}, depth=200), *messages(PLAIN)[1:]])


def _dictionaries(change: Callable[[Message], list[Message]]) -> bytes:
    parts = messages(CODES)
    return joined([parts[0], *change(parts[DICTIONARY]), *parts[2:]])


LYING: Mapping[str, tuple[int, Callable[[], bytes]]] = {
    "a buffer of 1 TiB": (400, lambda: _numbers(PLAIN, BATCH, (16, 28), (16, TIB))),
    "a buffer at 1 TiB": (400, lambda: _numbers(PLAIN, BATCH, (16, 28), (TIB, 28))),
    "a buffer before the body": (400, lambda: _numbers(PLAIN, BATCH, (16, 28), (-64, 28))),
    "a buffer of negative length": (400, lambda: _numbers(PLAIN, BATCH, (16, 28), (16, -28))),
    "a buffer whose end overflows": (
        400, lambda: _numbers(PLAIN, BATCH, (16, 28), (2**63 - 8, 2**62)),
    ),
    "a decompressed size of 1 TiB": (413, lambda: _compressed(TIB)),
    "a decompressed size of 2^63 - 1": (413, lambda: _compressed(2**63 - 1, "lz4")),
    "a negative decompressed size": (400, lambda: _compressed(-2)),
    "a small decompressed size": (400, lambda: _compressed(1)),
    "a small decompressed size in lz4": (400, lambda: _compressed(1, "lz4")),
    "a decompressed size that is a bit too large": (400, lambda: _compressed(100_001)),
    "compressed bytes said to be plain": (400, lambda: _compressed(-1)),
    "offsets that go back": (400, lambda: _body(PLAIN, BATCH, 4, struct.pack("<2i", 9, 2))),
    "offsets past the text": (400, lambda: _body(PLAIN, BATCH, 4, struct.pack("<3i", 9, 9, 999))),
    "a negative offset": (400, lambda: _body(PLAIN, BATCH, 0, struct.pack("<i", -5))),
    "invalid UTF-8": (400, lambda: _body(PLAIN, BATCH, 17, b"\xff\xfe")),
    "a code past its dictionary": (
        400, lambda: _body(CODES, BATCH, len(messages(CODES)[BATCH].body) - 8, b"\x63"),
    ),
    "a view of another buffer": (400, lambda: _views(0, len(LONG), 7, 0)),
    "a view of a negative buffer": (400, lambda: _views(0, len(LONG), -1, 0)),
    "a view past its buffer": (400, lambda: _views(0, len(LONG), 0, 2**30)),
    "a view before its buffer": (400, lambda: _views(0, len(LONG), 0, -64)),
    "a view of negative length": (400, lambda: _views(0, -5, 0, 0)),
    "a view that is too long": (413, lambda: _views(0, INT32_MAX, 0, 0)),
    "a missing dictionary": (400, lambda: _dictionaries(lambda one: [])),
    "a dictionary of another": (400, lambda: _dictionaries(lambda one: [messages(NUMBERED)[1]])),
    "2^40 rows of nothing": (413, lambda: _nulls(TIB)),
    "2^40 rows, said only once": (413, lambda: _nulls(TIB, times=1)),
    "-1 rows": (400, lambda: _nulls(-1)),
    "big-endian": (400, _big_endian),
    "a type 200 deep": (400, lambda: _deep("device")),
    "an unknown type 200 deep": (400, lambda: _deep("other")),
}  # fmt: skip
