"""The wal_writer: record batches on their way through the write-ahead log into the ring buffer.

Group commit without a timer: while one group is written and synced in a thread, the next gathers;
all of a group are safe together or fail together. Without a log, batches go straight into the
buffer.

Belongs to the event loop; only the writing is elsewhere.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import structlog

from ingest.pipeline.ring_buffer import RingBuffer
from storage.wal.wal import Location, Wal, WalError

Done = Callable[[Exception | None], None]

log = structlog.get_logger()


@dataclass(slots=True)
class _Entry:
    batch: pa.RecordBatch
    bytes: int
    received_us: int
    keep: bool
    done: Done


class WalWriter:
    def __init__(self, *, ring: RingBuffer, wal: Wal | None, pending_bytes_max: int) -> None:
        """pending_bytes_max: of what waits for the log, should the disk be slow."""
        self._pending_bytes_max = pending_bytes_max
        self._ring = ring
        self._wal = wal
        self._gathering: list[_Entry] = []
        self._writing: list[_Entry] = []
        self._pending_bytes = 0
        self._submitted = self._settled = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="wal")
        self._healthy = True

    @property
    def healthy(self) -> bool:
        """Whether the log took the last group."""
        return self._healthy

    @property
    def durable(self) -> bool:
        """Whether what is done is on disk."""
        return self._wal is not None

    def submit(self, batch: pa.RecordBatch, *, received_us: int, keep: bool, done: Done) -> bool:
        """Take `batch`; False when there is no room for it.

        done: called once it is in the log, if there is one, and in the buffer; or with the WalError
        that kept it out of the log. keep: then put it into the buffer all the same.
        """
        if self._wal is None:
            if self._ring.append(batch, received_us=received_us) is None:
                return False
            done(None)
            return True
        entries = len(self._gathering) + len(self._writing)
        # PERF: nbytes would take 20 µs more, for what slices do not show.
        size = batch.get_total_buffer_size()
        pending = self._pending_bytes + size
        if (
            (entries and pending > self._pending_bytes_max)
            or not self._ring.has_slots(entries + 1)
            or not self._wal.has_room(pending)
        ):
            return False
        self._gathering.append(_Entry(batch, size, received_us, keep, done))
        self._submitted += 1
        self._pending_bytes = pending
        if not self._writing:
            self._write_group(self._wal)
        return True

    def oldest_received_us(self) -> int | None:
        """When the oldest event that is not in the buffer yet was received."""
        times = [entry.received_us for entry in self._writing + self._gathering]
        return min(times, default=None)

    def settled(self) -> asyncio.Future[None]:
        """Done when everything submitted so far is."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._settled < self._submitted:
            self._waiting.append((self._submitted, waiter))
        else:
            waiter.set_result(None)
        return waiter

    def close(self) -> None:
        """Nothing may be under way any more."""
        self._thread.shutdown()
        if self._wal is not None:
            self._wal.close()

    def _write_group(self, wal: Wal) -> None:
        self._writing, self._gathering = self._gathering, []
        loop = asyncio.get_running_loop()
        batches = [entry.batch for entry in self._writing]
        # PERF: half of what run_in_executor takes, and nobody awaits this.
        self._thread.submit(wal.append, batches).add_done_callback(
            lambda written: loop.call_soon_threadsafe(self._written, wal, written)
        )

    def _written(self, wal: Wal, written: Future[list[Location]]) -> None:
        group, self._writing = self._writing, []
        self._pending_bytes -= sum(entry.bytes for entry in group)
        failure = written.exception()
        # Whatever it is, a bug of ours included: nothing of the group is safe.
        error = None if failure is None else WalError(f"{type(failure).__name__}: {failure}")
        self._note(error)
        if failure is None:
            for entry, location in zip(group, written.result(), strict=True):
                self._ring.append(
                    entry.batch,
                    received_us=entry.received_us,
                    nbytes=entry.bytes,
                    location=location,
                    force=True,
                )
        else:
            for entry in group:
                if entry.keep:
                    self._ring.append(entry.batch, received_us=entry.received_us, force=True)
        for entry in group:
            entry.done(error)
        self._settled += len(group)
        due = [waiter for target, waiter in self._waiting if target <= self._settled]
        self._waiting = [w for w in self._waiting if w[0] > self._settled]
        for waiter in due:
            if not waiter.done():
                waiter.set_result(None)
        if self._gathering and not self._writing:
            self._write_group(wal)

    def _note(self, error: WalError | None) -> None:
        if error is None and not self._healthy:
            self._healthy = True
            log.info("the write-ahead log takes events again")
        elif error is not None and self._healthy:
            self._healthy = False
            log.error("the write-ahead log takes no events: refusing them", error=str(error))
