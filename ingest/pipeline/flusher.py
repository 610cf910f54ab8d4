"""The flusher: a thread that moves rows from the ring buffer into the table.

Invariants:
- Slots are released only after the writer has confirmed their rows.
- Every attempt for the same slots sends the same rows in the same order with the same token.
- The flusher never gives up while the service runs.
"""

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import structlog

from ingest.event.arrow import conform, to_columns
from ingest.event.text import to_structs
from ingest.ledger import Ledger
from ingest.pipeline.retrying_writer import AbandonedError, RetryingWriter, State
from ingest.pipeline.ring_buffer import RingBuffer, Slot
from storage.wal.segment import DamagedError
from storage.wal.wal import Wal, WalError

log = structlog.get_logger()


class FlushObserver(Protocol):
    """Counts flushes."""

    def flushed(self, *, rows: int, reason: str, seconds: float) -> None:
        """Count one flush; `reason` is the one that `RingBuffer.take` returned."""


@dataclass(frozen=True, slots=True)
class FlushLimits:
    """The limits at which a flush is due.

    Attributes:
        rows: rows that wait in the buffer.
        bytes: bytes that wait in the buffer.
        age_s: age of the oldest slot that waits, in seconds.
    """

    rows: int
    bytes: int
    age_s: float


class Flusher:
    """Flushes the ring buffer, in a thread of its own."""

    def __init__(
        self,
        *,
        ring: RingBuffer,
        writer: RetryingWriter,
        ledger: Ledger,
        observer: FlushObserver,
        wal: Wal | None,
        limits: FlushLimits,
        prepare_thread: Callable[[], None] = lambda: None,
    ) -> None:
        """Connect the parts. `start` starts the thread.

        Args:
            ring: the buffer.
            writer: retries each insert until the rows are stored.
            ledger: counts stored, dead-lettered and lost events.
            observer: counts flushes.
            wal: the WAL: spilled slots are read from it, and stored ones are checkpointed. None
                without a WAL.
            limits: the limits at which a flush is due.
            prepare_thread: called at the start of the flusher's thread.
        """
        self._wal = wal
        self._ring = ring
        self._writer = writer
        self._ledger = ledger
        self._observer = observer
        # Tokens must be unique to this WAL, or to this process if there is no WAL.
        self._stream_id = wal.stream_id if wal is not None else uuid.uuid4().hex
        self._limits = limits
        self._prepare_thread = prepare_thread
        self._rows_per_s = 0.0
        self._opened = threading.Event()
        self._waiting_lock = threading.Lock()
        self._waiting: list[tuple[int, Future[None]]] = []
        self._thread = threading.Thread(target=self._run, name="flusher", daemon=True)

    def start(self) -> None:
        """Start the thread: it opens storage, with retries, and then flushes."""
        self._thread.start()

    def wait_open(self, timeout_s: float) -> bool:
        """Wait until storage is open; return whether it was within `timeout_s`."""
        return self._opened.wait(timeout_s)

    def close(self) -> None:
        """Flush everything in the buffer, then end the thread. Does not block; `join` does."""
        self._ring.close()
        if not self._opened.is_set() and self._ring.usage().rows == 0:
            self._writer.abandon()  # storage was never open, and there are no rows for it

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the thread; return whether all rows were stored in `timeout_s`."""
        self._thread.join(timeout_s)
        self._writer.abandon()  # ends a retry that is still waiting
        return not self._thread.is_alive() and self._ring.usage().rows == 0

    def flush(self) -> Future[None]:
        """Flush everything in the buffer now; return a future that is done when it is stored."""
        return self._when_released(self._ring.request_flush)

    def stored(self) -> Future[None]:
        """Return a future that is done when everything in the buffer now is stored.

        This does not make a flush due.
        """
        return self._when_released(lambda: self._ring.appended)

    def _when_released(self, sequence: Callable[[], int]) -> Future[None]:
        future: Future[None] = Future()
        with self._waiting_lock:
            self._waiting.append((sequence(), future))
        self._notify()
        return future

    @property
    def state(self) -> State:
        """The state of storage: "ok" if it is open and the last insert succeeded."""
        is_open = self._opened.is_set() and self._thread.is_alive()
        state = self._writer.state
        return state if is_open or state != "ok" else "failed"

    @property
    def is_stalled(self) -> bool:
        """Whether an insert has been running for longer than `retrying_writer.STALLED_S`."""
        return self._writer.is_stalled

    @property
    def recoveries(self) -> int:
        """How often an insert has succeeded after one had failed."""
        return self._writer.recoveries

    def drain_s(self) -> float:
        """Return how many seconds it takes to store the buffer at the measured rate.

        1 before the first flush.
        """
        return self._ring.usage().rows / self._rows_per_s if self._rows_per_s else 1.0

    def _run(self) -> None:
        self._prepare_thread()
        try:
            self._writer.open()
            self._opened.set()
            while self._flush_next():
                pass
        except AbandonedError:
            pass  # the service stops; the slots are not released
        finally:
            self._writer.close()

    def _flush_next(self) -> bool:
        """Wait for a flush and do it; return False if the buffer is closed and empty."""
        slots, reason = self._ring.take(
            rows=self._limits.rows, bytes=self._limits.bytes, age_s=self._limits.age_s
        )
        if not slots:
            return False
        started_s = time.perf_counter()
        batches = [batch for slot in slots if (batch := self._batch_of(slot)) is not None]
        table = to_columns(to_structs(batches))
        token = self._token(slots)
        rows = table.num_rows
        dead_lettered = self._writer.store(table, token=token) if rows else 0
        seconds = time.perf_counter() - started_s
        # The newest flush has half the weight, so the rate follows a change within a few flushes.
        rate = rows / max(seconds, 1e-6)
        self._rows_per_s = (self._rows_per_s + rate) / 2 if self._rows_per_s else rate
        self._checkpoint(slots)
        self._ring.release(slots)
        self._ledger.settle("stored", rows - dead_lettered)
        self._ledger.settle("dead_lettered", dead_lettered)
        self._observer.flushed(rows=rows, reason=reason, seconds=seconds)
        self._notify()
        return True

    def _batch_of(self, slot: Slot) -> pa.RecordBatch | None:
        if slot.batch is not None or slot.location is None:
            return slot.batch
        assert self._wal is not None
        try:
            return conform(self._wal.read(slot.location))
        except (DamagedError, OSError) as error:
            # The record was intact when it was written or recovered, so the disk has damaged it.
            log.error("events in the WAL can't be read", rows=slot.rows, error=str(error))
            self._ledger.settle("lost", slot.rows)
            return None

    def _token(self, slots: Sequence[Slot]) -> str:
        """Return the deduplication token of a flush.

        If all rows are in the WAL, the same rows have the same token after a restart, too: a
        sequence number of the WAL always stands for the same rows.
        """
        sequences = [slot.location.sequence for slot in slots if slot.location is not None]
        if len(sequences) == len(slots):
            return f"{self._stream_id}-{sequences[0]}-{sequences[-1]}"
        return f"{self._stream_id}-{uuid.uuid4().hex}"

    def _checkpoint(self, slots: Sequence[Slot]) -> None:
        last = next((s.location for s in reversed(slots) if s.location is not None), None)
        if last is None or self._wal is None:
            return
        try:
            self._wal.checkpoint(last.sequence + 1)
        except WalError as error:
            # At worst the same rows are inserted again after a restart, and the table collapses
            # them.
            log.warning("the WAL could not be shortened", error=str(error))

    def _notify(self) -> None:
        with self._waiting_lock:
            released = self._ring.released
            done = [future for sequence, future in self._waiting if sequence <= released]
            # Waiters that gave up are removed, so that the list stays short if storage is down.
            self._waiting = [w for w in self._waiting if w[0] > released and not w[1].done()]
        for future in done:
            if future.set_running_or_notify_cancel():
                future.set_result(None)
