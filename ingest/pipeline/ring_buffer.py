"""The ring buffer: holds record batches until they are stored in the table.

Invariants:
- The number of slots is fixed, and slots are reused in order. Sequence numbers grow by one and are
  never reused.
- Rows and bytes in memory are bounded. A record batch that would exceed a bound is refused. If it
  is in the WAL, it is spilled instead: its slot keeps only its location, and the flusher reads it
  back from there.
- A slot that was taken counts as used until it is released, because its rows are not stored yet.
- Slots are taken and released in the order of their sequence numbers.

Thread-safe: the WAL writer appends on the event loop, the flusher takes and releases in its thread.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from storage.wal.wal import Location


@dataclass(frozen=True, slots=True)
class Slot:
    """One record batch in the buffer.

    Attributes:
        sequence: sequence number of the slot.
        batch: the record batch; None if it was spilled.
        location: location of the record batch in the WAL; None if it is not in the WAL.
        rows: number of rows.
        bytes: size of the record batch in Arrow, spilled or not.
        received_us: when the oldest event was received, in µs since 1970.
        appended_s: when the record batch was appended, by the monotonic clock.
    """

    sequence: int
    batch: pa.RecordBatch | None
    location: Location | None
    rows: int
    bytes: int
    received_us: int
    appended_s: float


@dataclass(frozen=True, slots=True)
class BufferUsage:
    """Usage of the buffer, including slots that were taken and not released.

    Attributes:
        slots: slots in use.
        rows: all rows, including spilled ones.
        bytes: bytes in memory, so without spilled record batches.
        oldest_age_s: age of the oldest slot, in seconds; 0 if the buffer is empty.
    """

    slots: int
    rows: int
    bytes: int
    oldest_age_s: float


class RingBuffer:
    """A bounded queue of record batches between the WAL writer and the flusher."""

    def __init__(
        self, *, slots_max: int, rows_max: int, bytes_max: int, clock: Callable[[], float]
    ) -> None:
        """Create an empty buffer.

        Args:
            slots_max: number of slots.
            rows_max: how many rows may be in memory.
            bytes_max: how many bytes may be in memory.
            clock: returns monotonic time, in seconds.
        """
        self._slots: list[Slot | None] = [None] * slots_max
        self._rows_max, self._bytes_max = rows_max, bytes_max
        self._clock = clock
        self._condition = threading.Condition()
        # The next sequence number to be appended, taken and released.
        # Always released <= taken <= appended.
        self._appended = self._taken = self._released = 0
        self._rows = 0  # all rows, including spilled ones
        self._rows_held = self._bytes_held = 0  # in memory
        self._rows_waiting = self._bytes_waiting = 0  # appended and not taken
        self._rows_wanted = self._bytes_wanted = 0  # arguments of the last `take`
        self._flush_until = 0
        self._closed = False

    def has_slots(self, count: int) -> bool:
        """Return whether there are free slots for `count` more record batches."""
        return self._appended - self._released + count <= len(self._slots)

    def is_half_full(self) -> bool:
        """Return whether at least half of the slots, the rows or the bytes are used."""
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
        location: Location | None = None,
        force: bool = False,
    ) -> int | None:
        """Append a record batch.

        An empty buffer accepts a record batch that is larger than a bound, because it would never
        fit otherwise.

        Args:
            batch: the record batch.
            received_us: when its oldest event was received, in µs since 1970.
            location: its location in the WAL. With it, the record batch is spilled if it does not
                fit into memory.
            force: keep the record batch even if it exceeds the bounds of rows and bytes. The caller
                must have called `has_slots` before.

        Returns:
            The sequence number, or None if there is no room.
        """
        rows = batch.num_rows
        size = batch.get_total_buffer_size()
        with self._condition:
            if self._appended - self._released >= len(self._slots):
                assert not force, "call has_slots before"
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
            # PERF: waking the flusher takes longer than everything else in here. It need not be
            # woken for the age of a slot, because it waits with a timeout.
            if (
                self._appended - self._taken == 1
                or self._rows_waiting >= self._rows_wanted
                or self._bytes_waiting >= self._bytes_wanted
            ):
                self._condition.notify()
            return sequence

    def take(self, *, rows: int, bytes: int, age_s: float) -> tuple[Sequence[Slot], str]:  # noqa: A002
        """Wait until a flush is due, and take its slots.

        At least one slot is taken, and no more slots than needed to reach `rows` or `bytes`.

        Args:
            rows: a flush is due if so many rows wait.
            bytes: a flush is due if so many bytes wait, including spilled ones.
            age_s: a flush is due if the oldest waiting slot is so old, in seconds.

        Returns:
            (slots, reason). The reason is "rows", "bytes" or "age" as above, "request" after
            `request_flush`, "drain" after `close`, or "closed" if the buffer is closed and no slots
            are left.
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
        """Return (reason, None) if a flush is due, or (None, seconds to wait).

        The seconds are None if only a notification can make a flush due.
        """
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
        """Free the oldest slots that were taken, because their rows are stored."""
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
        """Make a flush of everything appended so far due.

        Returns:
            The sequence number after the last slot of that flush.
        """
        with self._condition:
            self._flush_until = self._appended
            self._condition.notify()
            return self._appended

    def close(self) -> None:
        """Make a flush of everything due; after it, `take` returns "closed". Does not block."""
        with self._condition:
            self._closed = True
            self._condition.notify()

    @property
    def appended(self) -> int:
        """The sequence number that the next append gets."""
        return self._appended

    @property
    def released(self) -> int:
        """The sequence number of the oldest slot that is not released."""
        return self._released

    def oldest_received_us(self) -> int | None:
        """Return when the oldest event of the oldest slot was received, in µs since 1970.

        None if the buffer is empty.
        """
        with self._condition:
            oldest = self._slots[self._released % len(self._slots)]
            return oldest.received_us if oldest is not None else None

    def usage(self) -> BufferUsage:
        """Return the current usage."""
        with self._condition:
            oldest = self._slots[self._released % len(self._slots)]
            age_s = self._clock() - oldest.appended_s if oldest is not None else 0.0
            slots = self._appended - self._released
            return BufferUsage(slots, self._rows, self._bytes_held, max(0.0, age_s))
