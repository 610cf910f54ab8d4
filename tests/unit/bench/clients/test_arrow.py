"""Bodies of Arrow have the same events as bodies of JSON."""

from datetime import UTC, datetime
from itertools import chain
from typing import Any

import orjson
import pyarrow as pa
import pytest

from bench.clients.arrow import ARROW_TYPE, SCHEMA, ArrowPool, to_batch
from bench.clients.batches import BatchFormat, batch_request, batch_requests
from bench.clients.generate import generate
from bench.clients.pool import EventPool

START = datetime(2024, 1, 1, tzinfo=UTC)
FORMATS = list(BatchFormat)


def events(count: int) -> list[bytes]:
    return list(generate(count, seed=7, start=START, days=31))


def present(value: Any) -> Any:
    """The value without the fields that are null, which means absent."""
    if isinstance(value, dict):
        return {name: present(part) for name, part in value.items() if part is not None}
    return [present(part) for part in value] if isinstance(value, list) else value


def sent(request: bytes) -> list[Any]:
    head, _, body = request.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head
    if ARROW_TYPE.encode() not in head:
        return list(orjson.loads(body)["events"])
    with pa.ipc.open_stream(body) as reader:
        return [present(event) for event in reader.read_all().to_pylist()]


@pytest.mark.parametrize("batch_format", FORMATS)
def test_a_request_has_the_events_in_their_order(batch_format: BatchFormat) -> None:
    lines = events(3_000)
    request = batch_request(lines, host="h", batch_format=batch_format)
    assert sent(request) == [orjson.loads(line) for line in lines]


@pytest.mark.parametrize("batch_format", FORMATS)
def test_requests_have_all_events_and_the_last_has_the_rest(batch_format: BatchFormat) -> None:
    lines = events(25)
    requests = batch_requests(iter(lines), 10, host="h", batch_format=batch_format)
    batches = [sent(request) for request in requests]
    assert [len(batch) for batch in batches] == [10, 10, 5]
    assert list(chain.from_iterable(batches)) == [orjson.loads(line) for line in lines]


def test_the_buffers_inside_are_compressed() -> None:
    lines = events(1_000)
    plain, lz4, zstd = (
        len(batch_request(lines, host="h", batch_format=batch_format))
        for batch_format in (BatchFormat.ARROW, BatchFormat.ARROW_LZ4, BatchFormat.ARROW_ZSTD)
    )
    assert plain > lz4 > zstd


def test_an_unknown_field_is_refused_and_not_left_out() -> None:
    with pytest.raises(pa.ArrowInvalid):
        to_batch([b'{"name":"n","channel_type":"web","added_later":1}'])


def test_batches_of_a_pool_differ_only_in_their_ids() -> None:
    pool = EventPool(20, start=START, days=31, name="load")
    arrow = ArrowPool(pool, 30)
    first, second = arrow.take(), arrow.take()
    assert first.schema == second.schema == SCHEMA
    assert first.drop_columns("id") == second.drop_columns("id")
    assert set(first.column("name").to_pylist()) == {pool.name}
    assert len({*first.column("id").to_pylist(), *second.column("id").to_pylist()}) == 60
