"""The WAL writer: a durable acknowledgement means that the events are on disk."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from ingest.errors import BufferFullError, NotDurableError, NotStoredError
from ingest.event.arrow import RECORD_SCHEMA
from ingest.parsing.arrow_parser import parse_lists
from ingest.pipeline.ingestor import Ingestor
from ingest.pipeline.request import Ack
from ingest.pipeline.rows import TextRows
from storage.wal.wal import WalError
from tests.fakes.fake_disk import FakeDisk, WalOnFakeDisk
from tests.fakes.fake_writer import FakeWriter
from tests.unit.ingest.pipeline.parts import Parts, events, request, send


@pytest.fixture
def disk() -> FakeDisk:
    return FakeDisk()


@pytest.fixture
def parts(tmp_path: Path, disk: FakeDisk) -> Iterator[Parts]:
    wal = WalOnFakeDisk(
        tmp_path, disk, schema=RECORD_SCHEMA, segment_bytes=10**6, bytes_max=60_000, retain_s=0
    )
    wal.recover()
    yield Parts(wal=wal, rows_max=50)
    wal.close()


async def send_new(parts: Parts, count: int, *, ack: Ack = "durable", prefix: str = "") -> None:
    await send(parts, [{**event, "id": prefix + event["id"]} for event in events(count)], ack=ack)


def wal_bytes(parts: Parts) -> int:
    assert parts.wal is not None
    return sum(path.stat().st_size for path in parts.wal.directory.glob("*.wal"))


def test_a_durable_acknowledgement_comes_after_the_sync(parts: Parts) -> None:
    async def main() -> None:
        before = wal_bytes(parts)
        await send_new(parts, 10)
        assert wal_bytes(parts) > before
        assert parts.ring.usage().rows == 10
        await parts.wal_writer.settled()

    asyncio.run(main())


def test_commits_that_come_while_the_wal_is_written_share_the_next_sync(
    parts: Parts, disk: FakeDisk
) -> None:
    async def main() -> None:
        disk.free.clear()
        sends = []
        for number in range(6):
            sends.append(asyncio.create_task(send_new(parts, 2, prefix=f"{number}-")))
            await asyncio.sleep(0.01)
        disk.free.set()
        await asyncio.gather(*sends)
        assert disk.syncs == 3  # segment header, first commit, all other commits

    asyncio.run(main())
    slots, _ = parts.ring.take(rows=10**6, bytes=1 << 30, age_s=0)
    assert [slot.rows for slot in slots] == [2, 10]  # the other five became one record batch


def test_durable_requests_are_refused_while_the_disk_fails(parts: Parts, disk: FakeDisk) -> None:
    async def main() -> None:
        disk.sync_fails = True
        with pytest.raises(NotDurableError):
            await send_new(parts, 3)
        assert not parts.wal_writer.healthy
        assert parts.ring.usage().rows == 0
        disk.sync_fails = False
        await send_new(parts, 3)  # the refused events are not duplicates
        assert parts.wal_writer.healthy
        assert parts.ring.usage().rows == 3

    asyncio.run(main())
    counts = parts.ledger.read()
    assert (counts.received, counts.refused, counts.in_flight) == (6, 3, 3)


def test_events_with_a_buffered_ack_are_kept_when_the_disk_fails(
    parts: Parts, disk: FakeDisk
) -> None:
    async def main() -> None:
        disk.sync_fails = True
        await send_new(parts, 3, ack="buffered")
        with pytest.raises(NotDurableError):
            await send_new(parts, 3)  # duplicates, but the first request was not durable
        await parts.wal_writer.settled()
        assert parts.ring.usage().rows == 3
        await send_new(parts, 3, ack="buffered")
        assert parts.ring.usage().rows == 3

    asyncio.run(main())


def test_events_without_room_in_memory_are_spilled_and_without_room_in_the_wal_refused(
    parts: Parts,
) -> None:
    async def main() -> None:
        for number in range(100):
            try:
                await send_new(parts, 20, prefix=f"{number}-")
            except BufferFullError:
                assert number > 3
                return
        raise AssertionError("never full")

    asyncio.run(main())
    slots, _ = parts.ring.take(rows=10**6, bytes=1 << 30, age_s=0)
    assert [slot.batch is None for slot in slots][:1] == [False]
    assert [slot.batch is None for slot in slots][-1:] == [True]
    assert parts.wal is not None
    spilled = slots[-1]
    assert spilled.location is not None
    assert parts.wal.read(spilled.location).num_rows == spilled.rows


def test_stored_waits_for_storage_and_says_when_that_takes_too_long(parts: Parts) -> None:
    async def main() -> None:
        with pytest.raises(NotStoredError):
            await send_new(parts, 1, ack="stored")
        flusher = parts.flusher(FakeWriter(), age_s=0)
        flusher.start()
        parts.ingestor = Ingestor(
            parser=parts.parser,
            committer=parts.committer,
            flusher=flusher,
            batch_requests_max=1,
            stored_timeout_s=10,
        )
        await send_new(parts, 1, ack="stored", prefix="again-")
        assert parts.ledger.read().stored == 2
        flusher.close()
        assert flusher.join(10)

    asyncio.run(main())


def test_small_and_large_requests_of_a_group_keep_their_order(parts: Parts, disk: FakeDisk) -> None:
    """Small requests next to each other share a record batch. A large request has its own."""

    async def send_large(prefix: str) -> None:
        raw = [{**event, "id": prefix + event["id"]} for event in events(3)]
        counted = parse_lists([orjson.dumps({"events": raw})])
        assert counted is not None
        await parts.ingestor.accept(counted[0], request())

    async def main() -> None:
        disk.free.clear()
        sends = [asyncio.create_task(send_new(parts, 1, prefix="first-"))]
        await asyncio.sleep(0.01)
        for number, is_large in enumerate([False, False, True, True, False]):
            prefix = f"{number}-"
            send = send_large(prefix) if is_large else send_new(parts, 2, prefix=prefix)
            sends.append(asyncio.create_task(send))
            await asyncio.sleep(0.01)
        disk.free.set()
        await asyncio.gather(*sends)

    asyncio.run(main())
    slots, _ = parts.ring.take(rows=10**6, bytes=1 << 30, age_s=0)
    ids = [slot.batch.column("id").to_pylist() for slot in slots if slot.batch is not None]
    assert [[event_id.split("-")[0] for event_id in each] for each in ids] == [
        ["first"], ["0", "0", "1", "1"], ["2"] * 3, ["3"] * 3, ["4", "4"],
    ]  # fmt: skip


def test_events_that_can_not_become_a_record_batch_fail_only_their_group(parts: Parts) -> None:
    async def main() -> None:
        done: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        broken = TextRows(["id"], ([1], [1], ["no time"]), [b"{}"])
        assert parts.wal_writer.submit(broken, received_us=1, keep=False, done=done.set_result)
        assert isinstance(await done, WalError)
        await send_new(parts, 3)

    asyncio.run(main())
    assert parts.ring.usage().rows == 3
