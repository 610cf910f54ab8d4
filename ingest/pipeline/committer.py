"""The committer: gathers requests into one record batch while the wal_writer is busy with others.

One commit is one record batch, so that single events under load do not become record batches of one
row. All requests in a commit share its fate: acknowledged together, or refused together.

Belongs to the event loop; nothing in here waits.
"""

import asyncio
import functools
from array import array
from collections.abc import Callable, Sequence
from typing import TypeVar

import pyarrow as pa

from ingest.errors import BufferFullError, NotDurableError
from ingest.event.arrow import RECORD_SCHEMA, TEXT_SCHEMA, TIME
from ingest.ledger import Ledger
from ingest.pipeline.dedup import DedupWindow
from ingest.pipeline.identity import Identities
from ingest.pipeline.wal_writer import WalWriter

T = TypeVar("T")


class Commit:
    """Events on their way into the buffer, and who waits for them."""

    def __init__(self, received_us: int, *, durable: bool) -> None:
        """received_us: receive time of the first event, in µs since 1970; durable: is acknowledged
        once it is in the log."""
        self.received_us = received_us
        self.durable = durable
        self.ids: list[str] = []
        self.keys: list[str] = []
        self.event_times_us: list[int] = []
        self.key_times_us: list[int] = []
        self.received_times_us: list[int] = []
        self._texts: list[bytes] = []
        self._columns: pa.StructArray | None = None
        self.duplicates = 0
        self._waiters: list[tuple[bool, asyncio.Future[None]]] = []

    def add(
        self,
        events: Sequence[bytes] | pa.StructArray,
        identities: Identities,
        positions: Sequence[int],
        received_us: int,
    ) -> None:
        """The events at `positions`, in order. A struct array must be the only addition."""
        everything = len(positions) == len(events)

        def picked(values: Sequence[T]) -> Sequence[T]:
            return values if everything else [values[position] for position in positions]

        self.ids += picked(identities.ids)
        self.keys += picked(identities.keys)
        self.event_times_us += picked(identities.event_times_us)
        self.key_times_us += picked(identities.key_times_us)
        self.received_times_us += [received_us] * len(positions)
        if isinstance(events, pa.StructArray):
            assert self._columns is None
            self._columns = events if everything else events.take(pa.array(positions))
        else:
            self._texts += picked(events)

    def join(self, *, durable: bool) -> asyncio.Future[None]:
        """Done when the commit is, for this level of promise; raises what it failed with."""
        # A future for each waiter: one that is cancelled must not take the others with it.
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((durable, waiter))
        return waiter

    def finish(self, error: Exception | None, *, durable: bool) -> None:
        """Answer those who wait for this level."""
        for level, waiter in self._waiters:
            if level is not durable or waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    def record_batch(self) -> pa.RecordBatch:
        times = (self.event_times_us, self.key_times_us, self.received_times_us)
        arrays = [pa.array(self.ids, pa.string()), *map(_times, times)]
        if self._columns is not None:
            return pa.RecordBatch.from_arrays([*arrays, self._columns], schema=RECORD_SCHEMA)
        texts = pa.array(self._texts, pa.binary())
        return pa.RecordBatch.from_arrays([*arrays, texts], schema=TEXT_SCHEMA)


def _times(times_us: Sequence[int]) -> pa.Array:
    """Times in µs since 1970 as a column; PERF: half of what pa.array takes for few."""
    data = pa.py_buffer(array("q", times_us))
    return pa.Array.from_buffers(TIME, len(times_us), [None, data])


class Committer:
    def __init__(
        self,
        *,
        wal_writer: WalWriter,
        dedup: DedupWindow[Commit],
        ledger: Ledger,
        rows_max: int,
        retry_after_s: Callable[[], int],
    ) -> None:
        """rows_max: at how many events a commit gathers no longer; retry_after_s: what to tell a
        client when there is no room."""
        self._wal_writer = wal_writer
        self._dedup = dedup
        self._ledger = ledger
        self._rows_max = rows_max
        self._retry_after_s = retry_after_s
        self._open: dict[bool, Commit] = {}

    def submit(
        self,
        events: Sequence[bytes] | pa.StructArray,
        identities: Identities,
        *,
        received_us: int,
        durable: bool,
        alone: bool = False,
    ) -> tuple[Sequence[int], list[asyncio.Future[None]]]:
        """Put the events that are new into the open commit; a struct array is a commit of its own.

        durable: to be acknowledged when they are in the log, not only in memory; alone: in a commit
        of their own. The events must be in flight in the ledger. Returns the positions of the new
        ones, and what to await before any of them, duplicates included, may be acknowledged;
        awaiting raises IngestError.
        """
        alone = alone or isinstance(events, pa.StructArray)
        commit = None if alone else self._open.get(durable)
        if commit is None:
            commit = Commit(received_us, durable=durable)
        fresh, shared = self._dedup.claim(identities.keys, commit)
        confirmed = len(events) - len(fresh) - sum(shared.values())
        if confirmed:
            self._ledger.settle("duplicate", confirmed)
        for owner, duplicates in shared.items():
            owner.duplicates += duplicates
        waits = {owner: owner.join(durable=durable) for owner in shared}
        if fresh:
            commit.add(events, identities, fresh, received_us)
            if commit not in waits:
                waits[commit] = commit.join(durable=durable)
            if alone:
                self._finish(commit)
            elif durable not in self._open:
                self._open[durable] = commit
                free = self._wal_writer.settled()
                free.add_done_callback(lambda _: self._seal(commit))
            if not alone and len(commit.ids) >= self._rows_max:
                self._seal(commit)
        return fresh, list(waits.values())

    def seal(self) -> None:
        """Finish the open commits."""
        for commit in list(self._open.values()):
            self._seal(commit)

    def _seal(self, commit: Commit) -> None:
        if self._open.get(commit.durable) is commit:
            del self._open[commit.durable]
            self._finish(commit)

    def _finish(self, commit: Commit) -> None:
        """Hand the commit to the wal_writer."""
        try:
            taken = self._wal_writer.submit(
                commit.record_batch(),
                received_us=commit.received_us,
                keep=not commit.durable,
                done=functools.partial(self._settle, commit),
            )
        except Exception as unexpected:  # whatever it is, the waiting requests must hear of it
            self._refuse(commit, unexpected)
            return
        if not taken:
            self._refuse(commit, BufferFullError(self._retry_after_s()))
        elif not commit.durable:
            commit.finish(None, durable=False)

    def _settle(self, commit: Commit, error: Exception | None) -> None:
        """The wal_writer is done with the commit."""
        if error is not None and commit.durable:
            self._refuse(commit, NotDurableError())
            return
        self._dedup.confirm(commit.keys)
        self._ledger.accept(len(commit.ids))
        self._ledger.settle("duplicate", commit.duplicates)
        commit.finish(None, durable=False)
        commit.finish(None if error is None else NotDurableError(), durable=True)

    def _refuse(self, commit: Commit, error: Exception) -> None:
        self._dedup.release(commit.keys)
        self._ledger.settle("refused", len(commit.ids) + commit.duplicates)
        commit.finish(error, durable=False)
        commit.finish(error, durable=True)

    def oldest_received_us(self) -> int | None:
        """When the oldest event that is not in the buffer yet was received, in µs since 1970."""
        times = [commit.received_us for commit in self._open.values()]
        pending = self._wal_writer.oldest_received_us()
        return min(times if pending is None else [*times, pending], default=None)
