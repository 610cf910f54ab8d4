"""Arrow streams that Arrow itself takes, and that must not reach its casts as they are."""

import struct

import pyarrow as pa
import pytest

from ingest.errors import PayloadError
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
