"""Recovery of events from the WALs of earlier processes.

Every worker has its own WAL directory under one root. Its name is the lowest free number, and a
lock marks it as taken.

- Replay: at its start a worker takes a directory, and puts the events in it into its buffer.
- Adoption: if a service has fewer workers than before, some directories belong to nobody. A running
  worker first writes their events to its own WAL, and then deletes them there. If that is
  interrupted, they are adopted again, and the table collapses the duplicates.
- Repeated insert: if the table has lost a part, retained events of the WAL are stored again.
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
"""How many records are adopted with one sync."""
BUFFER_WAIT_S = 0.05
"""How often a replay of retained events checks whether the buffer has room again."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WalLimits:
    """Limits of the WAL of one worker.

    Attributes:
        segment_bytes: size at which a new segment is started.
        bytes: size limit of all events in the WAL that are not stored.
        retain_s: how long stored events are kept, in seconds.
    """

    segment_bytes: int
    bytes: int
    retain_s: int


def claim_wal(root: Path, limits: WalLimits) -> Wal:
    """Take the free WAL directory with the lowest number, and open its WAL.

    Args:
        root: the directory of all WALs.
        limits: limits of the WAL.

    Raises:
        OSError: the directory can't be read or written.
    """
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
    """Put the events that a WAL has from an earlier process into the buffer, in order.

    Args:
        wal: the WAL.
        recovered: the result of `wal.recover`.
        ring: the buffer. It must have a free slot for each record.
        dedup: the dedup window, which gets the keys of the events.
        ledger: counts the events as received and accepted, or as lost if they can't be read.
    """
    rows = 0
    for location, batch in _read(wal, recovered.backlog, ledger):
        dedup.remember(keys_of(batch))
        ledger.receive(batch.num_rows)
        ledger.accept(batch.num_rows)
        ring.append(batch, received_us=_oldest_us(batch), location=location, force=True)
        rows += batch.num_rows
    if rows or recovered.damaged or recovered.torn:
        log.info(
            "the WAL was replayed",
            directory=str(wal.directory),
            events=rows,
            damaged_records=recovered.damaged,
            torn_records=recovered.torn,
        )


async def replay_retained(pipeline: Pipeline, ledger: Ledger) -> int:
    """Store the retained events of the WAL again, because the table may have lost some of them.

    The table collapses the copies of events that it still has.

    Args:
        pipeline: has the WAL and the buffer.
        ledger: counts the events as received, or as lost if they can't be read.

    Returns:
        The number of events.
    """
    if pipeline.wal is None:
        return 0
    ring, rows = pipeline.ring, 0
    records = _read(pipeline.wal, pipeline.wal.retained(), ledger)
    loop = asyncio.get_running_loop()
    # Reading a record takes milliseconds, and more from a slow disk.
    while (record := await loop.run_in_executor(None, next, records, None)) is not None:
        _, batch = record
        ledger.receive(batch.num_rows)
        # Half of the buffer is left for requests that arrive meanwhile.
        while ring.is_half_full():
            await asyncio.sleep(BUFFER_WAIT_S)
        # The location is left out: a token made from it was used before, so storage would drop the
        # rows as a repeated insert.
        while ring.append(batch, received_us=_oldest_us(batch)) is None:
            await asyncio.sleep(BUFFER_WAIT_S)
        rows += batch.num_rows
    return rows


class Adopter:
    """Adopts the events in WAL directories that belong to no process."""

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
        """Connect the parts.

        Args:
            root: the directory of all WALs.
            limits: limits of the WALs.
            own: the WAL of this worker.
            wal_writer: writes to the WAL of this worker.
            dedup: the dedup window, which gets the keys of adopted events.
            ledger: counts adopted events.
        """
        self._root = root
        self._limits = limits
        self._own = own
        self._wal_writer = wal_writer
        self._dedup = dedup
        self._ledger = ledger

    async def adopt(self) -> int:
        """Adopt the events of all directories that belong to no process.

        Returns:
            The number of adopted events.
        """
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
                return adopted  # no room or a failing disk: the rest is tried again later
            await loop.run_in_executor(None, orphan.checkpoint, group[-1].sequence + 1)
            adopted += sum(batch.num_rows for batch in batches)
        if adopted:
            log.info(
                "adopted the events of another worker", events=adopted, damaged=recovered.damaged
            )
        return adopted

    async def _keep(self, batches: list[pa.RecordBatch]) -> bool:
        """Write `batches` to the own WAL; return whether all are in it.

        If only some are, they are stored now and adopted again later.
        """
        loop = asyncio.get_running_loop()
        submitted: list[asyncio.Future[Exception | None]] = []
        for batch in batches:
            done: asyncio.Future[Exception | None] = loop.create_future()
            if not self._wal_writer.submit(
                batch, received_us=_oldest_us(batch), keep=False, done=done.set_result
            ):
                break
            submitted.append(done)
            self._ledger.receive(batch.num_rows)
        errors = await asyncio.gather(*submitted)
        for batch, error in zip(batches, errors, strict=False):
            if error is None:
                self._dedup.remember(keys_of(batch))
                self._ledger.accept(batch.num_rows)
            else:
                self._ledger.settle("refused", batch.num_rows)
        return len(submitted) == len(batches) and not any(errors)


def _read(
    wal: Wal, locations: Iterable[Location], ledger: Ledger
) -> Iterator[tuple[Location, pa.RecordBatch]]:
    """Yield records with their locations. Damaged records are counted as lost."""
    for location in locations:
        try:
            yield location, conform(wal.read(location))
        except DamagedError as error:
            log.error("events in the WAL can't be read", error=str(error))
            ledger.receive(location.record.rows)
            ledger.settle("lost", location.record.rows)


def _oldest_us(batch: pa.RecordBatch) -> int:
    oldest: int = pc.min(batch.column("received_at").cast(pa.int64())).as_py()
    return oldest
