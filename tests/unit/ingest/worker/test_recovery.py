"""Adoption of another worker's WAL: each event is adopted, or left for a later attempt."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from ingest.event.arrow import RECORD_SCHEMA
from ingest.worker.recovery import Adopter, WalLimits
from storage.wal.wal import Wal
from tests.fakes.fake_disk import FakeDisk, WalOnFakeDisk
from tests.unit.ingest.pipeline.parts import Parts

BATCHES, BATCH_ROWS = 20, 10


@pytest.fixture
def disk() -> FakeDisk:
    return FakeDisk()


@pytest.fixture
def parts(tmp_path: Path, disk: FakeDisk) -> Iterator[Parts]:
    """Build a worker whose WAL has room for only some of the other worker's events."""
    orphan = Wal(
        tmp_path / "2", schema=RECORD_SCHEMA, segment_bytes=10**6, bytes_max=10**6, retain_s=0
    )
    orphan.recover()
    orphan.append([batch(number) for number in range(BATCHES)])
    orphan.close()
    wal = WalOnFakeDisk(
        tmp_path / "1",
        disk,
        schema=RECORD_SCHEMA,
        segment_bytes=10**6,
        bytes_max=5 * batch(0).nbytes,
        retain_s=0,
    )
    wal.recover()
    yield Parts(wal=wal)
    wal.close()


def batch(number: int) -> pa.RecordBatch:
    rows = [
        {
            "id": f"{number}-{row}",
            "event_time": 1,
            "key_time": 1,
            "received_at": 1,
            "event": {"name": "e", "channel_type": "web"},
        }
        for row in range(BATCH_ROWS)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=RECORD_SCHEMA)


def adopt(parts: Parts) -> int:
    async def main() -> int:
        assert parts.wal is not None
        adopter = Adopter(
            parts.wal.directory.parent,
            limits=WalLimits(segment_bytes=10**6, bytes=10**6, retain_s=0),
            own=parts.wal,
            wal_writer=parts.wal_writer,
            dedup=parts.dedup,
            ledger=parts.ledger,
        )
        return await adopter.adopt()

    return asyncio.run(main())


def test_events_adopted_before_the_wal_is_full_are_accepted(parts: Parts) -> None:
    assert adopt(parts) == 0  # only whole groups count
    counts = parts.ledger.read()
    assert 0 < counts.accepted < BATCHES * BATCH_ROWS
    assert counts.accepted == counts.received == parts.ring.usage().rows


def test_events_that_a_failing_disk_refuses_are_not_in_flight(parts: Parts, disk: FakeDisk) -> None:
    disk.sync_fails = True
    assert adopt(parts) == 0
    counts = parts.ledger.read()
    assert counts.received == counts.refused > 0
    assert counts.in_flight == 0
