"""What earlier processes left in their logs comes back: at the start, and when a worker is gone.

Every worker has a directory of its own under one root, by the lowest number that is free; locks
tell. At the start a worker takes over the directory with what is in it. Directories that nobody
holds, of workers that there are no more, are adopted: what they hold is written into the adopter's
log first, and only then deleted. If that is cut short, it is done again, and the table counts it
once.
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import structlog

from ingest.event.arrow import RECORD_SCHEMA, conform
from ingest.ledger import Ledger
from ingest.pipeline.dedup import DedupWindow
from ingest.pipeline.identity import keys_of
from ingest.pipeline.pipeline import Pipeline
from ingest.pipeline.ring_buffer import RingBuffer
from ingest.pipeline.wal_writer import WalWriter
from storage.wal.segment import DamagedError
from storage.wal.wal import Location, Recovered, Wal

ADOPT_RECORDS = 64
"""Records that are adopted with one sync."""
BUFFER_WAIT_S = 0.05

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WalLimits:
    """Limits of the WAL of one worker.

    Attributes:
        segment_bytes: bytes at which a new segment begins.
        bytes: of all events in the WAL that are not stored.
        retain_s: how long stored events are kept, in seconds.
    """

    segment_bytes: int
    bytes: int
    retain_s: int


def claim_wal(root: Path, limits: WalLimits) -> Wal:
    """The log of this worker. Raises OSError."""
    for number in count(1):
        try:
            return _open(root / str(number), limits, retain_s=limits.retain_s)
        except BlockingIOError:
            continue
    raise AssertionError


def _open(directory: Path, limits: WalLimits, *, retain_s: float) -> Wal:
    return Wal(
        directory,
        schema=RECORD_SCHEMA,
        segment_bytes=limits.segment_bytes,
        bytes_max=limits.bytes,
        retain_s=retain_s,
    )


def replay(
    wal: Wal,
    recovered: Recovered,
    *,
    ring: RingBuffer,
    dedup: DedupWindow[Any],
    ledger: Ledger,
) -> None:
    """Put what the log still has into the buffer, in order; its ids are known from now on."""
    rows = 0
    for location, batch in _read(wal, recovered.backlog, ledger):
        dedup.remember(keys_of(batch))
        ledger.receive(batch.num_rows)
        ledger.accept(batch.num_rows)
        ring.append(batch, received_us=_oldest_us(batch), location=location, force=True)
        rows += batch.num_rows
    if rows or recovered.damaged or recovered.torn:
        log.info(
            "the log was replayed",
            directory=str(wal.directory),
            events=rows,
            damaged_records=recovered.damaged,
            torn_records=recovered.torn,
        )


async def replay_retained(pipeline: Pipeline, ledger: Ledger) -> int:
    """Store again what the WAL has retained, because the table may have lost a part of it.

    What the table still has collapses with its copy.

    Returns:
        The number of events.
    """
    if pipeline.wal is None:
        return 0
    ring, rows = pipeline.ring, 0
    for _, batch in _read(pipeline.wal, pipeline.wal.retained(), ledger):
        ledger.receive(batch.num_rows)
        # Requests that arrive meanwhile need room as well.
        while ring.is_half_full():
            await asyncio.sleep(BUFFER_WAIT_S)
        # Without its location in the WAL: under that token, storage would drop it as known.
        while ring.append(batch, received_us=_oldest_us(batch)) is None:
            await asyncio.sleep(BUFFER_WAIT_S)
        await asyncio.sleep(0)  # others have their turn
        rows += batch.num_rows
    return rows


class Adopter:
    def __init__(
        self,
        root: Path,
        *,
        limits: WalLimits,
        own: Wal,
        wal_writer: WalWriter,
        dedup: DedupWindow[Any],
        ledger: Ledger,
    ) -> None:
        self._root = root
        self._limits = limits
        self._own = own
        self._wal_writer = wal_writer
        self._dedup = dedup
        self._ledger = ledger

    async def adopt(self) -> int:
        """Take over what lies in directories that no process holds; returns the events adopted."""
        adopted = 0
        for directory in sorted(self._root.iterdir()):
            if directory == self._own.directory or not any(directory.glob("*.wal")):
                continue
            try:
                orphan = _open(directory, self._limits, retain_s=0)
            except BlockingIOError:
                continue
            try:
                adopted += await self._adopt(orphan)
            finally:
                orphan.close()
        return adopted

    async def _adopt(self, orphan: Wal) -> int:
        loop = asyncio.get_running_loop()
        recovered = await loop.run_in_executor(None, orphan.recover)
        adopted = 0
        records = list(recovered.backlog)
        while records:
            group, records = records[:ADOPT_RECORDS], records[ADOPT_RECORDS:]
            batches = [batch for _, batch in _read(orphan, group, self._ledger)]
            if not await self._keep(batches):
                return adopted  # no room: what is left is tried again later
            await loop.run_in_executor(None, orphan.checkpoint, group[-1].sequence + 1)
            adopted += sum(batch.num_rows for batch in batches)
        if adopted:
            log.info("events of a gone worker adopted", events=adopted, damaged=recovered.damaged)
        return adopted

    async def _keep(self, batches: list[pa.RecordBatch]) -> bool:
        """Whether all of `batches` are in the log now; those that are will be stored anyway."""
        loop = asyncio.get_running_loop()
        taken: list[asyncio.Future[Exception | None]] = []
        for batch in batches:
            done: asyncio.Future[Exception | None] = loop.create_future()
            if not self._wal_writer.submit(
                batch, received_us=_oldest_us(batch), keep=False, done=done.set_result
            ):
                break
            taken.append(done)
            self._ledger.receive(batch.num_rows)
        errors = await asyncio.gather(*taken)
        for batch, error in zip(batches, errors, strict=False):
            if error is None:
                self._dedup.remember(keys_of(batch))
                self._ledger.accept(batch.num_rows)
            else:
                self._ledger.settle("refused", batch.num_rows)
        return len(taken) == len(batches) and not any(errors)


def _read(
    wal: Wal, locations: Iterable[Location], ledger: Ledger
) -> Iterator[tuple[Location, pa.RecordBatch]]:
    for location in locations:
        try:
            yield location, conform(wal.read(location))
        except DamagedError as error:
            log.error("events in the log can't be read", error=str(error))
            ledger.receive(location.record.rows)
            ledger.settle("lost", location.record.rows)


def _oldest_us(batch: pa.RecordBatch) -> int:
    oldest: int = pc.min(batch.column("received_at").cast(pa.int64())).as_py()
    return oldest
