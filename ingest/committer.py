"""The committer: gathers requests for at most 2 ms into one record batch, and buffers it.

One commit is one record batch, so that single events under load do not become record batches of one
row. All requests in a commit share its fate: buffered together, or refused together.

Belongs to the event loop; nothing in here waits.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import pyarrow as pa

from ingest.columns import EVENT_TYPE, RECORD_SCHEMA
from ingest.dedup import DedupWindow
from ingest.errors import BufferFullError
from ingest.event import Event
from ingest.identity import Identities
from ingest.ledger import Ledger
from ingest.ring_buffer import RingBuffer

T = TypeVar("T")


class Commit:
    """Events on their way into the buffer, and who waits for them."""

    def __init__(self, received_us: int) -> None:
        """received_us: receive time of the first event, in µs since 1970."""
        self.received_us = received_us
        self.ids: list[str] = []
        self.event_times_us: list[int] = []
        self.key_times_us: list[int] = []
        self.received_times_us: list[int] = []
        self._events: list[Event] = []
        self._columns: pa.StructArray | None = None
        self.duplicates = 0
        self._waiters: list[asyncio.Future[None]] = []

    def add(
        self,
        events: Sequence[Event] | pa.StructArray,
        identities: Identities,
        positions: Sequence[int],
        received_us: int,
    ) -> None:
        """The events at `positions`, in order. A struct array must be the only addition."""
        everything = len(positions) == len(events)

        def picked(values: Sequence[T]) -> Sequence[T]:
            return values if everything else [values[position] for position in positions]

        self.ids += picked(identities.ids)
        self.event_times_us += picked(identities.event_times_us)
        self.key_times_us += picked(identities.key_times_us)
        self.received_times_us += [received_us] * len(positions)
        if isinstance(events, pa.StructArray):
            assert self._columns is None
            self._columns = events if everything else events.take(pa.array(positions))
        else:
            self._events += picked(events)

    def join(self) -> asyncio.Future[None]:
        """Done when the commit is; raises what it failed with."""
        # A future for each waiter: one that is cancelled must not take the others with it.
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    def finish(self, error: Exception | None) -> None:
        for waiter in self._waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    def record_batch(self) -> pa.RecordBatch:
        columns = (self.ids, self.event_times_us, self.key_times_us, self.received_times_us)
        arrays = [
            pa.array(values, field.type)
            for values, field in zip(columns, RECORD_SCHEMA, strict=False)
        ]
        events = self._columns
        if events is None:
            events = pa.array(self._events, EVENT_TYPE)
        return pa.RecordBatch.from_arrays([*arrays, events], schema=RECORD_SCHEMA)


class Committer:
    def __init__(
        self,
        *,
        ring: RingBuffer,
        dedup: DedupWindow[Commit],
        ledger: Ledger,
        wait_s: float,
        rows_max: int,
        retry_after_s: Callable[[], int],
    ) -> None:
        """wait_s: how long a commit gathers; rows_max: at how many events it no longer does;
        retry_after_s: what to tell a client when the buffer is full."""
        self._ring = ring
        self._dedup = dedup
        self._ledger = ledger
        self._wait_s = wait_s
        self._rows_max = rows_max
        self._retry_after_s = retry_after_s
        self._open: Commit | None = None
        self._timer: asyncio.TimerHandle | None = None

    def submit(
        self,
        events: Sequence[Event] | pa.StructArray,
        identities: Identities,
        *,
        received_us: int,
    ) -> tuple[int, list[asyncio.Future[None]]]:
        """Put the events that are new into the open commit; a struct array is a commit of its own.

        The events must be in flight in the ledger. Returns how many were new, and what to await
        before any of them, duplicates included, may be acknowledged; awaiting raises
        BufferFullError.
        """
        alone = isinstance(events, pa.StructArray)
        commit = None if alone else self._open
        if commit is None:
            commit = Commit(received_us)
        fresh, shared = self._dedup.claim(identities.ids, commit)
        confirmed = len(events) - len(fresh) - sum(shared.values())
        if confirmed:
            self._ledger.settle("duplicate", confirmed)
        for owner, duplicates in shared.items():
            owner.duplicates += duplicates
        waits = {owner: owner.join() for owner in shared}
        if fresh:
            commit.add(events, identities, fresh, received_us)
            if commit not in waits:
                waits[commit] = commit.join()
            if alone:
                self._finish(commit)
            elif self._open is None:
                self._open = commit
                self._timer = asyncio.get_running_loop().call_later(self._wait_s, self.seal)
            if not alone and len(commit.ids) >= self._rows_max:
                self.seal()
        return len(fresh), list(waits.values())

    def seal(self) -> None:
        """Finish the open commit, if there is one."""
        commit, self._open = self._open, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if commit is not None:
            self._finish(commit)

    def _finish(self, commit: Commit) -> None:
        """Buffer the commit or refuse it."""
        error: Exception | None = None
        try:
            batch = commit.record_batch()
            if self._ring.append(batch, received_us=commit.received_us) is None:
                error = BufferFullError(self._retry_after_s())
        except Exception as unexpected:  # whatever it is, the waiting requests must hear of it
            error = unexpected
        if error is None:
            self._dedup.confirm(commit.ids)
            self._ledger.accept(len(commit.ids))
            self._ledger.settle("duplicate", commit.duplicates)
        else:
            self._dedup.release(commit.ids)
            self._ledger.settle("refused", len(commit.ids) + commit.duplicates)
        commit.finish(error)

    def oldest_received_us(self) -> int | None:
        """When the oldest event of the open commit was received, in µs since 1970."""
        return self._open.received_us if self._open is not None else None
