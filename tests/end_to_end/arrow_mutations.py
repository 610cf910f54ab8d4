"""Small Arrow streams of every kind, and random damage to them."""

import io
import random
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

ROWS = 3
NUMBERS = (
    0, 1, 2, 3, 7, 8, 16, 63, 64, 255, 1024, -1, -2, -8, 2**15, 2**16, 2**30, 2**31 - 1, -(2**31),
    2**32, 2**33 - 1, 2**40, 2**62, 2**63 - 1, -(2**63),
)  # fmt: skip
"""Numbers at which readers fail: as lengths, offsets, counts, or ids."""
NAMES = ("damaged_a", "damaged_b", "damaged_ä")
TEXT_MAP = pa.map_(pa.string(), pa.string())


def written(*batches: pa.RecordBatch, **options: Any) -> bytes:
    """Return a stream. The options are those of IpcWriteOptions."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(
        sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)
    ) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def events(names: pa.Array | None = None, **columns: Any) -> pa.RecordBatch:
    """Return a batch of events with more columns, of which each is an array."""
    names = pa.array(NAMES) if names is None else names
    return pa.record_batch(
        {"name": names, "channel_type": pa.array(["web"] * len(names)), **columns}
    )


def rich() -> pa.RecordBatch:
    """Return a batch with texts, numbers, booleans, lists, structs, and unknown columns."""
    param = {"key": "k", "string_value": "text", "number_value": 1.5, "boolean_value": None}
    return events(
        id=pa.array(["1", None, "3"]),
        timestamp=pa.array([1_700_000_000, None, 1_700_000_001_000]),
        event_params=pa.array([[param, param], None, []]),
        device=pa.array([{"category": "phone"}, None, {"category": None}]),
        items=pa.array([[{"name": "i", "quantity": 2, "params": [param]}], [], None]),
        other=pa.array([[{"a": 1}], None, [{"a": 2}, None]]),
    )


def _texts(kind: pa.DataType) -> pa.RecordBatch:
    long = pa.array(["a text that is longer than twelve bytes", None, "short"])
    return events(
        pa.array(NAMES).cast(kind),
        user_id=long.cast(kind),
        geo=pa.StructArray.from_arrays(
            [long.cast(kind)], ["city"], mask=pa.array([False, True, False])
        ),
    )


def _maps() -> pa.RecordBatch:
    structs = pa.map_(pa.string(), pa.struct({"number_value": pa.float32()}))
    return events(
        event_params=pa.array([[("a", "1"), ("b", None)], None, []], TEXT_MAP),
        user_params=pa.array([[("a", {"number_value": 1})], [], None], structs),
    )


def _lists() -> pa.RecordBatch:
    param = pa.struct({"key": pa.large_string(), "boolean_value": pa.bool_()})
    value = {"key": "k", "boolean_value": True}
    return events(
        event_params=pa.array([[value], None, []], pa.large_list(param)),
        user_params=pa.array([[value, value], None, [value, value]], pa.list_(param, 2)),
        items=pa.array([[], None, [{"id": "x"}]], pa.large_list(pa.struct({"id": pa.string()}))),
    )


def _times() -> pa.RecordBatch:
    return events(
        timestamp=pa.array([0, None, 1_700_000_000], pa.timestamp("s")),
        previous_timestamp=pa.array([1.0, 1_700_000_000.0, None]),
        date=pa.array([0, 1, None], pa.timestamp("ns", "Europe/Zurich")),
    )


def _numbers() -> pa.RecordBatch:
    item = pa.struct({"price_in_usd": pa.decimal128(9, 2), "quantity": pa.uint64()})
    return events(
        timestamp=pa.array([1, 2, None], pa.uint32()),
        items=pa.array([[{"price_in_usd": 1, "quantity": 2}], None, []], pa.list_(item)),
        device=pa.nulls(ROWS),
        tags=pa.nulls(ROWS),
    )


def _unknown() -> pa.RecordBatch:
    values = pa.array([1, 2, 3])
    union = pa.UnionArray.from_dense(
        pa.array([0] * 3, pa.int8()), pa.array([0, 1, 2], pa.int32()), [values]
    )
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([3], pa.int32()), pa.array(["x"]))
    views = pa.array([[1], None, [2, 3]], pa.list_view(pa.int8()))
    return events(union=union, runs=runs, views=views, binary=pa.array([b"a", None, b"b"]))


def _deltas() -> bytes:
    batches = []
    for size in range(1, 4):
        words = pa.array(["web", "tv", "other"][:size])
        codes = pa.array(list(range(size)), pa.int8())
        kinds = pa.DictionaryArray.from_arrays(codes, words)
        batches.append(pa.record_batch({"name": pa.array(NAMES[:size]), "channel_type": kinds}))
    return written(*batches, emit_dictionary_deltas=True)


def seeds() -> list[bytes]:
    """Return the streams, which are all valid, except for the events of one."""
    invalid = events(timestamp=pa.array([-1, 2**62, 10**12]), user_id=pa.array(["\0", "", "x"]))
    return [
        written(events()),
        written(rich()),
        written(rich(), compression="zstd"),
        written(rich(), compression="lz4"),
        written(_texts(pa.dictionary(pa.int8(), pa.string()))),
        written(_texts(pa.string_view())),
        written(_texts(pa.string_view()), compression="zstd"),
        written(_texts(pa.large_string())),
        written(_maps()),
        written(_lists()),
        written(_times(), _times().slice(1), _times().slice(0, 0)),
        written(_numbers()),
        written(_unknown()),
        written(invalid),
        _deltas(),
    ]


def parts(stream: bytes) -> list[tuple[int, int]]:
    """Return where the metadata and the body of each message are, and the end marker."""
    source = io.BytesIO(stream)
    reader = pa.ipc.MessageReader.open_stream(source)
    found, start = [], 0
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return [*found, (start, len(stream))]
        body = source.tell() - (message.body.size if message.body else 0)
        found += [(start, body), (body, source.tell())]
        start = source.tell()


class Damage:
    """An endless supply of damaged streams, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        """Make the streams that will be damaged."""
        self._random = random.Random(seed)
        self._streams = seeds()
        self._parts = [
            [part for part in parts(stream) if part[0] < part[1]] for stream in self._streams
        ]

    def streams(self, count: int) -> Iterator[bytes]:
        """Yield `count` damaged streams."""
        for _ in range(count):
            yield self._damaged()

    def _damaged(self) -> bytes:
        pick = self._random
        number = pick.randrange(len(self._streams))
        stream = bytearray(self._streams[number])
        for _ in range(pick.choice([1, 1, 1, 2, 4, 8])):
            start, end = pick.choice(self._parts[number])
            start, end = min(start, len(stream) - 1), min(end, len(stream))
            at = pick.randrange(start, max(end, start + 1))
            word = at // 8 * 8
            match pick.randrange(12):
                case 0 | 1 | 2:
                    stream[at] ^= 1 << pick.randrange(8)
                case 3 | 4:
                    stream[at] = pick.choice([0, 1, 0x7F, 0x80, 0xFF, pick.randrange(256)])
                case 5 | 6:
                    stream[word : word + 8] = _number(pick, 8)
                case 7:
                    at = at // 4 * 4
                    stream[at : at + 4] = _number(pick, 4)
                case 8:
                    other = pick.randrange(start, max(end, start + 1)) // 8 * 8
                    words = stream[word : word + 8], stream[other : other + 8]
                    stream[other : other + 8], stream[word : word + 8] = words
                case 9:
                    other_stream = pick.choice(self._streams)
                    stream[at:] = other_stream[pick.randrange(len(other_stream)) :]
                case 10:
                    del stream[word : word + 8 * pick.randrange(1, 5)]
                case 11:
                    del stream[max(at, 1) :]
            if not stream:
                break
        return bytes(stream)


def _number(pick: random.Random, size: int) -> bytes:
    return (pick.choice(NUMBERS) % (1 << 8 * size)).to_bytes(size, "little")
