"""The ring buffer: record batches between their acknowledgement and their place in the table.

Invariants:
- a fixed number of slots, reused in order; sequence numbers grow by one and are never reused;
- rows and bytes in memory are bounded: what would exceed a bound is refused or, when the log has
  it, keeps only its place there (it is spilled, and read back when its turn comes);
- what was taken still counts until it is released, for it is not stored yet;
- slots are taken and released in the order of their sequence numbers.

Thread-safe: the committer appends on the event loop, the flusher takes and releases in its thread.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from storage.wal.wal import Location


@dataclass(frozen=True, slots=True)
class Slot:
    """One record batch. batch: None when it was spilled; location: where the log has it;
    received_us: wall clock of its oldest event, in µs since 1970; appended_s: monotonic clock."""

    sequence: int
    batch: pa.RecordBatch | None
    location: Location | None
    rows: int
    bytes: int
    received_us: int
    appended_s: float


@dataclass(frozen=True, slots=True)
class BufferUsage:
    """What is in the buffer, taken slots included. rows: all of them; bytes: those in memory;
    oldest_age_s: 0 when it is empty."""

    slots: int
    rows: int
    bytes: int
    oldest_age_s: float


class RingBuffer:
    def __init__(
        self, *, slots_max: int, rows_max: int, bytes_max: int, clock: Callable[[], float]
    ) -> None:
        """clock: monotonic, in seconds."""
        self._slots: list[Slot | None] = [None] * slots_max
        self._rows_max, self._bytes_max = rows_max, bytes_max
        self._clock = clock
        self._condition = threading.Condition()
        # released <= taken <= appended, each the next sequence number to be so.
        self._appended = self._taken = self._released = 0
        self._rows = 0
        self._rows_held = self._bytes_held = 0  # in memory
        self._rows_waiting = self._bytes_waiting = 0
        self._rows_wanted = self._bytes_wanted = 0  # by who waits in `take`
        self._flush_until = 0
        self._closed = False

    def has_slots(self, count: int) -> bool:
        """Whether `count` more record batches have a slot."""
        return self._appended - self._released + count <= len(self._slots)

    def is_half_full(self) -> bool:
        """Whether half of the slots, the rows or the bytes are taken."""
        return (
            2 * (self._appended - self._released) >= len(self._slots)
            or 2 * self._rows_held >= self._rows_max
            or 2 * self._bytes_held >= self._bytes_max
        )

    def append(
        self,
        batch: pa.RecordBatch,
        *,
        received_us: int,
        nbytes: int | None = None,
        location: Location | None = None,
        force: bool = False,
    ) -> int | None:
        """The sequence number of `batch`, or None when there is no room for it.

        nbytes: of it, if that is known already; location: where the log has it, which makes room in
        memory for it unnecessary; force: it must be kept, whatever the bounds say of its rows and
        bytes. A batch larger than a bound is taken by an empty buffer, else it could never be.
        """
        rows = batch.num_rows
        size = batch.get_total_buffer_size() if nbytes is None else nbytes
        with self._condition:
            if self._appended - self._released >= len(self._slots):
                assert not force, "has_slots must be asked before"
                return None
            fits = self._rows_held == 0 or (
                self._rows_held + rows <= self._rows_max
                and self._bytes_held + size <= self._bytes_max
            )
            if not fits and location is None and not force:
                return None
            held = batch if fits or location is None else None
            sequence = self._appended
            slot = Slot(sequence, held, location, rows, size, received_us, self._clock())
            self._slots[sequence % len(self._slots)] = slot
            self._appended += 1
            self._rows += rows
            if held is not None:
                self._rows_held += rows
                self._bytes_held += size
            self._rows_waiting += rows
            self._bytes_waiting += size
            # PERF: to wake the flusher takes longer than all else in here; its age it sees itself.
            if (
                self._appended - self._taken == 1
                or self._rows_waiting >= self._rows_wanted
                or self._bytes_waiting >= self._bytes_wanted
            ):
                self._condition.notify()
            return sequence

    def take(self, *, rows: int, bytes: int, age_s: float) -> tuple[Sequence[Slot], str]:  # noqa: A002
        """Wait until a flush is due and take its slots; (no slots, "closed") at the end.

        Due is what reaches `rows` or `bytes`, was appended `age_s` ago, or was asked for by
        `request_flush` or `close`; the second part of the result says which: "rows", "bytes",
        "age", "request" or "drain". At least one slot is taken and no more than needed to reach
        `rows` or `bytes`.
        """
        with self._condition:
            self._rows_wanted, self._bytes_wanted = rows, bytes
            while True:
                reason, wait_s = self._due(rows, bytes, age_s)
                if reason == "closed":
                    return (), reason
                if reason is not None:
                    return self._take(rows, bytes), reason
                self._condition.wait(wait_s)

    def _due(self, rows: int, size: int, age_s: float) -> tuple[str | None, float | None]:
        """(why a flush is due, None) or (None, seconds until it may be)."""
        oldest = self._slots[self._taken % len(self._slots)]
        if self._taken == self._appended or oldest is None:
            return ("closed" if self._closed else None), None
        if self._rows_waiting >= rows:
            return "rows", None
        if self._bytes_waiting >= size:
            return "bytes", None
        if self._closed:
            return "drain", None
        if oldest.sequence < self._flush_until:
            return "request", None
        wait_s = oldest.appended_s + age_s - self._clock()
        return ("age", None) if wait_s <= 0 else (None, wait_s)

    def _take(self, rows: int, size: int) -> list[Slot]:
        taken: list[Slot] = []
        taken_rows = taken_bytes = 0
        while self._taken < self._appended and taken_rows < rows and taken_bytes < size:
            slot = self._slots[self._taken % len(self._slots)]
            assert slot is not None
            taken.append(slot)
            taken_rows, taken_bytes = taken_rows + slot.rows, taken_bytes + slot.bytes
            self._taken += 1
        self._rows_waiting -= taken_rows
        self._bytes_waiting -= taken_bytes
        return taken

    def release(self, slots: Sequence[Slot]) -> None:
        """`slots`, the oldest ones taken, are stored: forget them."""
        with self._condition:
            for slot in slots:
                assert slot.sequence == self._released < self._taken
                self._slots[slot.sequence % len(self._slots)] = None
                self._released += 1
                self._rows -= slot.rows
                if slot.batch is not None:
                    self._rows_held -= slot.rows
                    self._bytes_held -= slot.bytes

    def request_flush(self) -> int:
        """Make everything appended so far due; returns the sequence number it ends before."""
        with self._condition:
            self._flush_until = self._appended
            self._condition.notify()
            return self._appended

    def close(self) -> None:
        """Make everything due, then end `take`. Does not block."""
        with self._condition:
            self._closed = True
            self._condition.notify()

    @property
    def appended(self) -> int:
        """The sequence number of the next append."""
        return self._appended

    @property
    def released(self) -> int:
        """The sequence number before which everything is stored."""
        return self._released

    def oldest_received_us(self) -> int | None:
        """When the oldest event that is not stored was received; None when there is none."""
        with self._condition:
            oldest = self._slots[self._released % len(self._slots)]
            return oldest.received_us if oldest is not None else None

    def usage(self) -> BufferUsage:
        with self._condition:
            oldest = self._slots[self._released % len(self._slots)]
            age_s = self._clock() - oldest.appended_s if oldest is not None else 0.0
            slots = self._appended - self._released
            return BufferUsage(slots, self._rows, self._bytes_held, max(0.0, age_s))
