"""The flusher: a thread that moves the buffer into the table, trying until storage has it.

Invariants:
- slots are released only after the writer confirmed their rows;
- every attempt for the same slots sends the same rows in the same order under the same token;
- it never gives up while the service runs.
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
    """Who counts flushes."""

    def flushed(self, *, rows: int, reason: str, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class FlushLimits:
    """What makes a flush due: rows or bytes in the buffer, or the age of its oldest row."""

    rows: int
    bytes: int
    age_s: float


class Flusher:
    """The thread that flushes the buffer."""

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
        """Join the parts.

        Args:
            ring: the buffer.
            writer: writes rows to the table until they are stored.
            ledger: counts what was stored.
            observer: is told of every flush.
            wal: where spilled slots are read back and stored ones forgotten; None without a WAL.
            limits: what makes a flush due.
            prepare_thread: called in the flusher's thread at its start.
        """
        self._wal = wal
        self._ring = ring
        self._writer = writer
        self._ledger = ledger
        self._observer = observer
        # Tokens must be unique to the WAL, or to this process if there is none.
        self._stream_id = wal.stream_id if wal is not None else uuid.uuid4().hex
        self._limits = limits
        self._prepare_thread = prepare_thread
        self._rows_per_s = 0.0
        self._opened = threading.Event()
        self._waiting_lock = threading.Lock()
        self._waiting: list[tuple[int, Future[None]]] = []
        self._thread = threading.Thread(target=self._run, name="flusher", daemon=True)

    def start(self) -> None:
        """Open storage, trying until that works, then flush whenever it is due."""
        self._thread.start()

    def wait_open(self, timeout_s: float) -> bool:
        """Whether storage could be opened within `timeout_s`."""
        return self._opened.wait(timeout_s)

    def close(self) -> None:
        """Flush what is buffered, then end. Does not block: join does."""
        self._ring.close()
        if not self._opened.is_set() and self._ring.usage().rows == 0:
            self._writer.abandon()  # storage never came, and nothing waits for it

    def join(self, timeout_s: float) -> bool:
        """Wait for the end. False when storage did not take everything in `timeout_s`."""
        self._thread.join(timeout_s)
        self._writer.abandon()  # ends a retry that is still waiting
        return not self._thread.is_alive() and self._ring.usage().rows == 0

    def flush(self) -> Future[None]:
        """Flush what is buffered now; the future is done when all of it is stored."""
        return self._when_released(self._ring.request_flush)

    def stored(self) -> Future[None]:
        """Done when what is buffered now is stored; flushes nothing by itself."""
        return self._when_released(lambda: self._ring.appended)

    def _when_released(self, sequence: Callable[[], int]) -> Future[None]:
        future: Future[None] = Future()
        with self._waiting_lock:
            self._waiting.append((sequence(), future))
        self._notify()
        return future

    @property
    def state(self) -> State:
        """Of storage: "ok" when it is open and took the last attempt."""
        is_open = self._opened.is_set() and self._thread.is_alive()
        state = self._writer.state
        return state if is_open or state != "ok" else "failed"

    @property
    def is_stalled(self) -> bool:
        """Whether storage has not answered an insert for long."""
        return self._writer.is_stalled

    @property
    def recoveries(self) -> int:
        """How often storage has worked again after it did not."""
        return self._writer.recoveries

    def drain_s(self) -> float:
        """How long the buffer would take to drain at the measured rate; 1 before any flush."""
        return self._ring.usage().rows / self._rows_per_s if self._rows_per_s else 1.0

    def _run(self) -> None:
        self._prepare_thread()
        try:
            self._writer.open()
            self._opened.set()
            while self._flush_next():
                pass
        except AbandonedError:
            pass  # at shutdown: the slots stay unreleased
        finally:
            self._writer.close()

    def _flush_next(self) -> bool:
        """False at the end."""
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
        dead = self._writer.store(table, token=token) if rows else 0
        seconds = time.perf_counter() - started_s
        # Half weight to the newest flush: follows a change within a few flushes.
        rate = rows / max(seconds, 1e-6)
        self._rows_per_s = (self._rows_per_s + rate) / 2 if self._rows_per_s else rate
        self._checkpoint(slots)
        self._ring.release(slots)
        self._ledger.settle("stored", rows - dead)
        self._ledger.settle("dead_lettered", dead)
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
            # It was whole when it was written or recovered: the disk has lost it since.
            log.error("events in the log can't be read", rows=slot.rows, error=str(error))
            self._ledger.settle("lost", slot.rows)
            return None

    def _token(self, slots: Sequence[Slot]) -> str:
        """The same for the same rows, in this process and, as far as they are in the log, the next:
        a sequence number of the log stands for the same rows for ever."""
        logged = [slot.location.sequence for slot in slots if slot.location is not None]
        if len(logged) == len(slots):
            return f"{self._stream_id}-{logged[0]}-{logged[-1]}"
        return f"{self._stream_id}-{uuid.uuid4().hex}"

    def _checkpoint(self, slots: Sequence[Slot]) -> None:
        last = next((s.location for s in reversed(slots) if s.location is not None), None)
        if last is None or self._wal is None:
            return
        try:
            self._wal.checkpoint(last.sequence + 1)
        except WalError as error:
            # At worst the same rows are sent again after a restart, and collapse in the table.
            log.warning("the log could not be shortened", error=str(error))

    def _notify(self) -> None:
        with self._waiting_lock:
            released = self._ring.released
            done = [future for sequence, future in self._waiting if sequence <= released]
            # A waiter that gave up is forgotten, however long storage stays away.
            self._waiting = [w for w in self._waiting if w[0] > released and not w[1].done()]
        for future in done:
            if future.set_running_or_notify_cancel():
                future.set_result(None)
