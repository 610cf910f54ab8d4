"""The ring buffer against a model made of lists: bounds, order, sequence numbers, and usage."""

import pyarrow as pa
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ingest.pipeline.ring_buffer import RingBuffer, Slot

SLOTS_MAX, ROWS_MAX, BYTES_MAX = 4, 20, 120
FLUSH_ROWS, FLUSH_BYTES, FLUSH_AGE_S = 6, 60, 10.0


class RingMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0
        self.ring = RingBuffer(
            slots_max=SLOTS_MAX, rows_max=ROWS_MAX, bytes_max=BYTES_MAX, clock=lambda: self.now_s
        )
        self.waiting: list[tuple[int, int, float]] = []  # sequence, rows, appended
        self.taken: list[list[Slot]] = []
        self.appended = 0

    def held(self) -> list[int]:
        return [slot.rows for slots in self.taken for slot in slots] + [
            rows for _, rows, _ in self.waiting
        ]

    @rule(rows=st.integers(1, 30))
    def append(self, rows: int) -> None:
        batch = pa.record_batch({"x": pa.array(range(rows), pa.int64())})
        sequence = self.ring.append(batch, received_us=self.appended)
        held = self.held()
        full = len(held) >= SLOTS_MAX or (
            held and (sum(held) + rows > ROWS_MAX or 8 * (sum(held) + rows) > BYTES_MAX)
        )
        if full:
            assert sequence is None
        else:
            assert sequence == self.appended
            self.waiting.append((sequence, rows, self.now_s))
            self.appended += 1

    @rule(seconds=st.sampled_from([1.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @precondition(lambda self: self.waiting)
    @rule()
    def take(self) -> None:
        rows = sum(rows for _, rows, _ in self.waiting)
        if rows < FLUSH_ROWS and 8 * rows < FLUSH_BYTES:
            if self.now_s - self.waiting[0][2] < FLUSH_AGE_S:
                assert self.ring.request_flush() == self.appended
                expected = "request"
            else:
                expected = "age"
        else:
            expected = "rows" if rows >= FLUSH_ROWS else "bytes"
        slots, reason = self.ring.take(rows=FLUSH_ROWS, bytes=FLUSH_BYTES, age_s=FLUSH_AGE_S)
        assert reason in (expected, "request")
        assert [s.sequence for s in slots] == [s for s, _, _ in self.waiting[: len(slots)]]
        before_last = sum(slot.rows for slot in slots[:-1])
        assert before_last < FLUSH_ROWS
        assert 8 * before_last < FLUSH_BYTES
        self.waiting = self.waiting[len(slots) :]
        self.taken.append(list(slots))

    @precondition(lambda self: self.taken)
    @rule()
    def release(self) -> None:
        slots = self.taken.pop(0)
        self.ring.release(slots)
        assert self.ring.released == slots[-1].sequence + 1

    @invariant()
    def usage_is_what_is_held(self) -> None:
        usage, held = self.ring.usage(), self.held()
        assert (usage.slots, usage.rows, usage.bytes) == (len(held), sum(held), 8 * sum(held))
        oldest = self.ring.oldest_received_us()
        assert (oldest is None) == (not held)


TestRing = RingMachine.TestCase


def test_taking_ends_once_closed_and_empty() -> None:
    ring = RingBuffer(slots_max=2, rows_max=9, bytes_max=999, clock=lambda: 0.0)
    ring.append(pa.record_batch({"x": [1]}), received_us=1)
    ring.close()
    slots, reason = ring.take(rows=5, bytes=500, age_s=60)
    assert (len(slots), reason) == (1, "drain")
    assert ring.take(rows=5, bytes=500, age_s=60) == ((), "closed")
