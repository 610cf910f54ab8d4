"""The flusher flushes when it is due, never gives up, and releases only stored rows."""

import concurrent.futures
import threading
import time

import pyarrow as pa
import pytest

from ingest.event.arrow import RECORD_SCHEMA
from storage.errors import PausedError, TransientError
from tests.fakes.fake_writer import FakeWriter
from tests.unit.ingest.pipeline.parts import Parts


def buffer(parts: Parts, rows: int) -> None:
    record = {"event_time": 0, "key_time": 0, "received_at": 0}
    record["event"] = {"name": "e", "channel_type": "web"}
    records = [{"id": str(index), **record} for index in range(rows)]
    parts.ledger.receive(rows)
    parts.ring.append(pa.RecordBatch.from_pylist(records, schema=RECORD_SCHEMA), received_us=1)


def drained(parts: Parts, writer: FakeWriter) -> bool:
    flusher = parts.flusher(writer)
    flusher.start()
    flusher.close()
    return flusher.join(10)


def test_enough_rows_are_flushed_in_order() -> None:
    parts, writer = Parts(), FakeWriter()
    for _ in range(5):
        buffer(parts, 4)
    assert drained(parts, writer)
    assert [rows.num_rows for _, rows in writer.stored] == [12, 8]
    assert parts.ledger.read().stored == 20
    assert parts.registry.get_sample_value("event_stream_flushes_total", {"reason": "rows"}) == 1
    assert parts.registry.get_sample_value("event_stream_flushes_total", {"reason": "drain"}) == 1
    assert writer.closed


def test_a_row_is_flushed_when_it_is_old_enough() -> None:
    parts, writer = Parts(), FakeWriter()
    flusher = parts.flusher(writer, age_s=0.01)
    flusher.start()
    buffer(parts, 1)
    assert writer.attempted.wait(10)
    flusher.close()
    assert flusher.join(10)
    assert parts.registry.get_sample_value("event_stream_flushes_total", {"reason": "age"}) == 1


def test_a_flush_on_request_is_done_when_all_rows_are_stored() -> None:
    parts, writer = Parts(), FakeWriter()
    flusher = parts.flusher(writer)
    flusher.start()
    buffer(parts, 3)
    flusher.flush().result(10)
    assert parts.ledger.read().stored == 3
    flusher.flush().result(10)  # nothing to do
    flusher.close()
    assert flusher.join(10)


def test_every_attempt_sends_the_same_rows_under_the_same_token() -> None:
    parts = Parts()
    writer = FakeWriter()
    flusher = parts.flusher(writer)
    flusher.start()
    assert flusher.wait_open(10)
    writer.failures += [TransientError("down"), PausedError("password", 516), TransientError("?")]
    buffer(parts, 10)
    flusher.flush().result(10)
    buffer(parts, 10)
    flusher.close()
    assert flusher.join(10)
    tokens = [token for token, _ in writer.attempts]
    assert len(writer.attempts) == 5
    assert tokens[0] == tokens[1] == tokens[2] == tokens[3] != tokens[4]
    assert all(rows.equals(writer.attempts[0][1]) for _, rows in writer.attempts[:4])
    errors = "event_stream_storage_errors_total"
    assert parts.registry.get_sample_value(errors, {"error_class": "transient"}) == 2
    assert parts.registry.get_sample_value(errors, {"error_class": "paused"}) == 1


def test_rows_stay_in_the_buffer_while_storage_is_down() -> None:
    parts, writer = Parts(), FakeWriter()
    flusher = parts.flusher(writer)
    flusher.start()
    assert flusher.wait_open(10)
    writer.down = TransientError("down")
    buffer(parts, 10)
    assert writer.attempted.wait(10)
    waiting = flusher.flush()
    with pytest.raises(concurrent.futures.TimeoutError):
        waiting.result(0.05)
    assert flusher.state == "failed"
    flusher.close()
    assert not flusher.join(0.05)
    assert parts.ring.usage().rows == 10
    counts = parts.ledger.read()
    assert (counts.stored, counts.in_flight) == (0, 10)


def test_storage_that_is_down_at_the_start_is_opened_later() -> None:
    parts, writer = Parts(), FakeWriter(down=TransientError("down"))
    flusher = parts.flusher(writer)
    flusher.start()
    buffer(parts, 10)
    assert not flusher.wait_open(0.05)
    assert flusher.state == "failed"
    writer.down = None
    assert flusher.wait_open(10)
    flusher.close()
    assert flusher.join(10)
    assert parts.ledger.read().stored == 10


def test_a_stop_does_not_wait_for_storage_when_there_is_nothing_to_store() -> None:
    parts, writer = Parts(), FakeWriter(down=TransientError("down"))
    flusher = parts.flusher(writer)
    flusher.start()
    flusher.close()
    stopper = threading.Thread(target=flusher.join, args=(3600,))
    stopper.start()
    stopper.join(10)
    assert not stopper.is_alive()


@pytest.mark.parametrize("bad", [{"0"}, {"9999"}, {"17", "18"}, {"0", "4000", "9999"}])
def test_a_row_that_storage_refuses_is_dead_lettered_and_the_others_are_stored(
    bad: set[str],
) -> None:
    parts, writer = Parts(rows_max=20_000), FakeWriter(poison=bad)
    buffer(parts, 10_000)
    assert drained(parts, writer)
    assert set(writer.dead) == bad
    stored = [i for _, rows in writer.stored for i in rows.column("id").to_pylist()]
    assert sorted(stored) == sorted({str(i) for i in range(10_000)} - bad)
    if len(bad) == 1:
        assert len(writer.attempts) <= 30
    tokens = [token for token, _ in writer.attempts]
    assert len(set(tokens)) == len(tokens)
    counts = parts.ledger.read()
    assert (counts.stored, counts.dead_lettered) == (10_000 - len(bad), len(bad))


def test_when_all_rows_are_refused_they_are_dead_lettered_in_pieces() -> None:
    parts = Parts(rows_max=20_000)
    writer = FakeWriter(poison={str(index) for index in range(10_000)})
    buffer(parts, 10_000)
    assert drained(parts, writer)
    assert len(writer.dead) == 10_000
    assert len(writer.attempts) < 500


def test_the_wait_is_longer_after_too_many_parts() -> None:
    parts, writer = Parts(), FakeWriter()
    flusher = parts.flusher(writer)
    flusher.start()
    assert flusher.wait_open(10)
    for code, least_s in ((241, 0.0), (252, 0.01)):
        writer.failures.append(TransientError("busy", code))
        buffer(parts, 10)
        started_s = time.monotonic()
        flusher.flush().result(10)
        assert time.monotonic() - started_s >= least_s
    flusher.close()
    assert flusher.join(10)
