"""Arrow streams that Arrow itself takes, and that must not reach its casts as they are."""

import struct
import sys
import time
from decimal import Decimal

import pyarrow as pa
import pytest

from ingest.errors import PayloadError, TooLargeError
from ingest.event.text import read_texts
from ingest.parsing.arrow_stream.stream_parser import parse_stream
from ingest.parsing.batch import Batch

LONG = "a text of more than twelve bytes"
TENSOR = 4


def parse(stream: bytes) -> Batch:
    return parse_stream(stream, bytes_max=1 << 20, events_max=100)


def stream_of(**columns: pa.Array) -> bytes:
    batch = pa.record_batch(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    "hidden",
    [struct.pack("<iiii", -128, -1, 7, -1), struct.pack("<iiii", 2**31 - 1, 0, 0, 0), b"\xff" * 16],
    ids=["negative", "long", "all ones"],
)
@pytest.mark.parametrize("start", [0, 1])
def test_what_a_view_describes_at_a_null_is_not_read(hidden: bytes, start: int) -> None:
    texts = pa.array([LONG, None, "short", LONG], pa.string_view())
    validity, views, *data = texts.buffers()
    assert views is not None
    spoiled = views.to_pybytes()[:16] + hidden + views.to_pybytes()[32:]
    users = pa.Array.from_buffers(texts.type, 4, [validity, pa.py_buffer(spoiled), *data])
    batch = parse(
        stream_of(
            name=pa.array(["a"] * (4 - start)),
            channel_type=pa.array(["web"] * (4 - start)),
            user_id=users.slice(start),
        )
    )
    assert isinstance(batch.events, pa.StructArray)
    assert batch.events.field("user_id").to_pylist() == [LONG, None, "short", LONG][start:]


def test_a_message_that_is_no_record_batch_is_refused() -> None:
    stream = bytearray(stream_of(name=pa.array(["a"]), channel_type=pa.array(["web"])))
    schema = 8 + int.from_bytes(stream[4:8], "little")
    root = schema + 8 + int.from_bytes(stream[schema + 8 : schema + 12], "little")
    vtable = root - int.from_bytes(stream[root : root + 4], "little", signed=True)
    header_type = root + int.from_bytes(stream[vtable + 6 : vtable + 8], "little")
    assert stream[header_type] == 3  # a record batch
    stream[header_type] = TENSOR
    with pytest.raises(PayloadError, match="stream"):
        parse(bytes(stream))


@pytest.mark.parametrize(
    "kind", [pa.decimal32(9, 2), pa.decimal64(9, 2), pa.decimal128(38, 20), pa.decimal256(76, 60)]
)
def test_a_decimal_is_the_same_float_as_in_json(kind: pa.DataType) -> None:
    batch = parse(with_price(pa.array([Decimal("19.99"), None, Decimal("-0.07")]).cast(kind)))
    assert prices(batch) == [19.99, None, -0.07]
    assert batch.raw[0]["items"] == [{"price_in_usd": 19.99}]


@pytest.mark.parametrize(
    ("scale", "price"), [(38, 3e-38), (-38, 3e38), (39, None), (2**31 - 1, None), (-(2**31), None)]
)
def test_a_decimal_whose_scale_no_number_needs_is_refused(scale: int, price: float | None) -> None:
    kind = pa.decimal128(38, scale)
    three = pa.Array.from_buffers(kind, 1, [None, pa.py_buffer((3).to_bytes(16, "little"))])
    if price is not None:
        assert prices(parse(with_price(three))) == [price]
    else:
        with pytest.raises(PayloadError, match=r"items\[\]\.price_in_usd must be a number"):
            parse(with_price(three))


def test_a_few_bytes_can_not_refer_to_many_that_must_be_read() -> None:
    views = pa.array(["é" * 2**19], pa.string_view())
    _, one, *data = views.buffers()
    assert one is not None
    many = pa.py_buffer(one.to_pybytes() * 100_000)
    texts = pa.Array.from_buffers(views.type, 100_000, [None, many, *data])
    unknown = pa.StructArray.from_arrays([texts], ["unknown"])
    params = pa.ListArray.from_arrays(pa.array([0, 100_000], pa.int32()), unknown)
    columns = {"name": pa.array(["a"]), "channel_type": pa.array(["web"]), "event_params": params}
    stream = stream_of(**columns)
    started_s = time.monotonic()
    with pytest.raises(TooLargeError, match="views and dictionaries"):
        parse_stream(stream, bytes_max=1 << 23, events_max=100)
    assert time.monotonic() - started_s < 5  # it would be minutes


def test_each_batch_refers_to_its_whole_dictionaries() -> None:
    codes = pa.array([None] * 100, pa.int8())
    texts = pa.DictionaryArray.from_arrays(codes, pa.array(["é" * 2**18]))
    names, types = pa.array(["a"] * 100), pa.array(["web"] * 100)
    batch = pa.record_batch({"name": names, "channel_type": types, "user_id": texts})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        for row in range(100):
            writer.write_batch(batch.slice(row, 1))
    with pytest.raises(TooLargeError, match="views and dictionaries"):
        parse(bytes(sink.getvalue()))


def with_price(numbers: pa.Array) -> bytes:
    size = len(numbers)
    items = pa.StructArray.from_arrays([numbers], ["price_in_usd"])
    return stream_of(
        name=pa.array(["a"] * size),
        channel_type=pa.array(["web"] * size),
        items=pa.ListArray.from_arrays(pa.array(range(size + 1), pa.int32()), items),
    )


def prices(batch: Batch) -> list[float | None]:
    events = batch.events
    if not isinstance(events, pa.StructArray):
        events = read_texts(pa.array(events, pa.binary()))
    return [items[0]["price_in_usd"] for items in events.field("items").to_pylist()]


@pytest.mark.parametrize("unknown", [0, 100_000])
def test_a_stream_with_much_else_is_not_kept_with_its_events(unknown: int) -> None:
    columns = {"name": ["a" * 100] * 100, "channel_type": ["web"] * 100, "x": ["y" * unknown] * 100}
    body = stream_of(**{name: pa.array(values) for name, values in columns.items()})
    before = sys.getrefcount(body)
    batch = parse_stream(body, bytes_max=1 << 24, events_max=100)
    assert isinstance(batch.events, pa.StructArray)
    assert sys.getrefcount(body) == before + (unknown == 0)
