"""Arrow data that is serialized in memory which is used again."""

import pyarrow as pa
import pytest

from storage.ipc_memory import IpcMemory

SCHEMA = pa.schema([("text", pa.string()), ("numbers", pa.list_(pa.int64()))])


def batch(rows: int) -> pa.RecordBatch:
    texts = ["x" * (row % 50) for row in range(rows)]
    return pa.record_batch([texts, [list(range(row % 7)) for row in range(rows)]], schema=SCHEMA)


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_each_stream_is_whole_whatever_was_in_the_memory_before(compression: str | None) -> None:
    memory = IpcMemory(compression)
    for rows in (10, 5_000, 1, 0, 3_000):
        table = pa.Table.from_batches([batch(rows), batch(rows // 2)])
        assert pa.ipc.open_stream(memory.stream(table)).read_all().equals(table)


def test_messages_are_what_arrow_reads_with_their_schema() -> None:
    memory = IpcMemory()
    for sizes in ((1, 5_000, 0), (3,), (20, 20)):
        batches = [batch(rows) for rows in sizes]
        messages = memory.messages(SCHEMA, batches)
        read = [pa.ipc.read_record_batch(pa.py_buffer(m), SCHEMA) for m in messages]
        assert read == batches


def test_memory_is_kept_unless_it_is_very_large() -> None:
    memory = IpcMemory()
    memory.stream(pa.table({"a": pa.nulls(1_000_000, pa.int64())}))
    kept = memory.size
    assert kept > 8_000_000
    memory.stream(pa.table({"a": [1]}))
    assert memory.size == kept
    memory.stream(pa.table({"a": pa.nulls(10_000_000, pa.int64())}))
    memory.stream(pa.table({"a": [1]}))
    assert memory.size < 10_000
