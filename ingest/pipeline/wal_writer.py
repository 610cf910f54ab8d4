"""The WAL writer: writes new events to the write-ahead log (WAL), then to the ring buffer.

It does group commit without a timer: while a thread writes and syncs one group, the next group is
gathered. A group is written as a whole or not at all. The events of small requests in a group
become one record batch. Without a WAL, events go directly into the buffer.

Belongs to the event loop. Only the writing happens in a thread.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import structlog

from ingest.pipeline.ring_buffer import RingBuffer
from ingest.pipeline.rows import NewRows, TextRows, joined, record_batch
from storage.wal.wal import Location, Wal, WalError

JOINED_BYTES_MAX = 4 * 1024 * 1024
"""Size limit of events that are joined into one record batch.

The limit is needed because the buffer and the flusher handle a record batch as a whole.
"""

Done = Callable[[Exception | None], None]

log = structlog.get_logger()


@dataclass(slots=True)
class _Entry:
    rows: NewRows
    bytes: int
    received_us: int
    keep: bool
    done: Done


class WalWriter:
    """Writes record batches to the WAL and puts them into the ring buffer."""

    def __init__(self, *, ring: RingBuffer, wal: Wal | None, pending_bytes_max: int) -> None:
        """Connect the parts.

        Args:
            ring: the buffer.
            wal: the WAL; None if it is disabled.
            pending_bytes_max: how many bytes may wait for the WAL if the disk is slow.
        """
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
        """Whether the last group was written to the WAL."""
        return self._healthy

    def submit(self, rows: NewRows, *, received_us: int, keep: bool, done: Done) -> bool:
        """Write new events to the WAL and the buffer.

        Args:
            rows: the events.
            received_us: when the oldest event was received, in µs since 1970.
            keep: whether to put the events into the buffer even if the WAL fails.
            done: called with None when the events are in the WAL and the buffer, or with the
                WalError if the WAL failed. Without a WAL, they are only in the buffer.

        Returns:
            Whether there was room. If not, `done` is not called.
        """
        if self._wal is None:
            if self._ring.append(record_batch(rows), received_us=received_us) is None:
                return False
            done(None)
            return True
        entries = len(self._gathering) + len(self._writing)
        size = _size_bytes(rows)
        pending = self._pending_bytes + size
        if (
            (entries and pending > self._pending_bytes_max)
            or not self._ring.has_slots(entries + 1)
            or not self._wal.has_room(pending)
        ):
            return False
        self._gathering.append(_Entry(rows, size, received_us, keep, done))
        self._submitted += 1
        self._pending_bytes = pending
        if not self._writing:
            self._write_group(self._wal)
        return True

    def oldest_received_us(self) -> int | None:
        """Return when the oldest event that waits for the WAL was received, in µs since 1970.

        None if no event waits.
        """
        times = [entry.received_us for entry in self._writing + self._gathering]
        return min(times, default=None)

    def settled(self) -> asyncio.Future[None]:
        """Return a future that is done when everything submitted so far is written or failed."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._settled < self._submitted:
            self._waiting.append((self._submitted, waiter))
        else:
            waiter.set_result(None)
        return waiter

    def close(self) -> None:
        """Close the WAL. Everything submitted must be settled before."""
        self._thread.shutdown()
        if self._wal is not None:
            self._wal.close()

    def _write_group(self, wal: Wal) -> None:
        self._writing, self._gathering = self._gathering, []
        loop = asyncio.get_running_loop()
        # PERF: the record batches are made here. In the thread, Arrow would release the GIL and
        # wait for it again: up to 9 % fewer single events per second.
        batches: list[pa.RecordBatch] = []
        try:
            batches += [_record_batch(run) for run in _runs(self._writing)]
        except Exception as unexpected:  # a bug must fail this group, and not those after it
            failed: Future[list[Location]] = Future()
            failed.set_exception(unexpected)
            loop.call_soon(self._end_group, wal, batches, failed)
            return
        # PERF: takes half the time of run_in_executor, whose future is not needed here.
        self._thread.submit(wal.append, batches).add_done_callback(
            lambda written: loop.call_soon_threadsafe(self._end_group, wal, batches, written)
        )

    def _end_group(
        self, wal: Wal, batches: Sequence[pa.RecordBatch], written: Future[list[Location]]
    ) -> None:
        group, self._writing = self._writing, []
        self._pending_bytes -= sum(entry.bytes for entry in group)
        failure = written.exception()
        # After any error, even a bug, nothing of the group may count as written.
        error = None if failure is None else WalError(f"{type(failure).__name__}: {failure}")
        self._note(error)
        if failure is None:
            received_us = min(entry.received_us for entry in group)
            for batch, location in zip(batches, written.result(), strict=True):
                self._ring.append(batch, received_us=received_us, location=location, force=True)
        else:
            for entry in group:
                if entry.keep and batches:
                    batch = record_batch(entry.rows)
                    self._ring.append(batch, received_us=entry.received_us, force=True)
        for entry in group:
            entry.done(error)
        self._wake(len(group))
        if self._gathering and not self._writing:
            self._write_group(wal)

    def _wake(self, settled: int) -> None:
        """Count `settled` more entries as done, and wake the waiters whose entries are done."""
        self._settled += settled
        due = [waiter for target, waiter in self._waiting if target <= self._settled]
        self._waiting = [w for w in self._waiting if w[0] > self._settled]
        for waiter in due:
            if not waiter.done():
                waiter.set_result(None)

    def _note(self, error: WalError | None) -> None:
        if error is None and not self._healthy:
            self._healthy = True
            log.info("the WAL works again: accepting events")
        elif error is not None and self._healthy:
            self._healthy = False
            log.error("the WAL can't be written: refusing durable events", error=str(error))


def _record_batch(run: Sequence[NewRows]) -> pa.RecordBatch:
    return joined(run).record_batch() if isinstance(run[0], TextRows) else run[0]


def _runs(entries: Sequence[_Entry]) -> Iterator[list[NewRows]]:
    """Yield the events of each record batch: several texts in a row, or one Arrow record batch."""
    run: list[NewRows] = []
    size = 0
    for entry in entries:
        is_text = isinstance(entry.rows, TextRows)
        joins = is_text and size + entry.bytes <= JOINED_BYTES_MAX
        if run and not (joins and isinstance(run[0], TextRows)):
            yield run
            run, size = [], 0
        run.append(entry.rows)
        size += entry.bytes
    if run:
        yield run


def _size_bytes(rows: NewRows) -> int:
    # PERF: nbytes takes 20 µs more. The result differs only for slices.
    return rows.size_bytes() if isinstance(rows, TextRows) else rows.get_total_buffer_size()
