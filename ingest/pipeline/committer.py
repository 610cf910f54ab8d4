"""The committer: identifies events, deduplicates them, and commits the new ones.

Only the committer decides whether an event is rejected, duplicate, refused or accepted, and counts
that in the ledger. New events go to the WAL writer.

Belongs to the event loop. Nothing in this module waits.
"""

import asyncio
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from ingest.clock import Clock
from ingest.errors import BufferFullError, NotDurableError, RejectedError, ShuttingDownError
from ingest.ledger import Ledger
from ingest.parsing.batch import Batch
from ingest.pipeline.dedup import DedupWindow
from ingest.pipeline.identity import Identities, identify
from ingest.pipeline.rows import new_rows, picked
from ingest.pipeline.wal_writer import WalWriter


class Commit:
    """The new events of one batch, and the requests that wait for them.

    A request that repeats an event of a commit waits for that commit, and shares its outcome.
    """

    def __init__(self, *, durable: bool) -> None:
        """Create an empty commit.

        Args:
            durable: whether it is acknowledged once it is in the WAL, or else once it is in the
                buffer.
        """
        self.durable = durable
        self.keys: Sequence[str] = ()
        self.duplicates = 0
        self._waiters: list[tuple[bool, asyncio.Future[None]]] = []

    def join(self, *, durable: bool) -> asyncio.Future[None]:
        """Return a future that is done when the commit is done, and raises its error.

        Args:
            durable: whether to wait for the WAL; False waits for the buffer only.
        """
        # Each waiter has its own future, because a cancelled one must not cancel the others.
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((durable, waiter))
        return waiter

    def finish(self, error: Exception | None, *, durable: bool) -> None:
        """Wake the requests that wait for the WAL, or for the buffer if not `durable`."""
        for level, waiter in self._waiters:
            if level is not durable or waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)


@dataclass(slots=True)  # PERF: frozen costs 0.2 µs for each field
class Submission:
    """The result of submitting the valid events of a batch.

    Attributes:
        ids: ids of the valid events, in order.
        new: positions of the events that were not deduplicated.
        waits: futures that must be awaited before any of the events, or their duplicates, are
            acknowledged. Each raises IngestError if its commit failed.
    """

    ids: Sequence[str]
    new: Sequence[int]
    waits: Sequence[asyncio.Future[None]]


class Committer:
    """Decides the outcome of every event, and hands new events to the WAL writer."""

    def __init__(
        self,
        *,
        wal_writer: WalWriter,
        dedup: DedupWindow[Commit],
        ledger: Ledger,
        clock: Clock,
        retry_after_s: Callable[[], int],
    ) -> None:
        """Connect the parts.

        Args:
            wal_writer: writes new events to the WAL and puts them into the buffer.
            dedup: finds duplicates.
            ledger: counts the events.
            clock: gives the receive times.
            retry_after_s: returns the Retry-After of a refusal for lack of room, in seconds.
        """
        self._wal_writer = wal_writer
        self._dedup = dedup
        self._ledger = ledger
        self._clock = clock
        self._retry_after_s = retry_after_s
        self._closed = False

    def close(self) -> None:
        """Refuse every batch from now on."""
        self._closed = True

    def reject(self, batch: Batch) -> RejectedError:
        """Count all events of `batch` as rejected, and return the error for the client.

        Raises:
            ShuttingDownError: the committer is closed.
        """
        self._receive(batch)
        self._ledger.settle("rejected", batch.size)
        return RejectedError(list(batch.rejected), batch.size - len(batch.events))

    def submit(
        self,
        batch: Batch,
        *,
        idempotency_keys: Sequence[str | None] | None,
        durable: bool,
    ) -> Submission:
        """Identify, deduplicate and commit the valid events of `batch`; reject the others.

        Args:
            batch: the events of one request, or of a group of requests.
            idempotency_keys: see `identify`.
            durable: whether the events are acknowledged once they are in the WAL, or else once
                they are in the buffer.

        Raises:
            ShuttingDownError: the committer is closed.
        """
        self._receive(batch)
        rejected = batch.size - len(batch.events)
        if rejected:
            self._ledger.settle("rejected", rejected)
        # Nothing is awaited between here and the WAL writer. The watermark comes from the events
        # that the WAL writer has, so it could pass the receive time of an event that is not there.
        received_us = self._clock.now_us()
        identities = identify(batch, idempotency_keys=idempotency_keys, received_us=received_us)
        commit = Commit(durable=durable)
        new, shared = self._dedup.claim(identities.keys, commit)
        deduplicated = len(batch.events) - len(new) - sum(shared.values())
        if deduplicated:
            self._ledger.settle("duplicate", deduplicated)
        for owner, duplicates in shared.items():
            owner.duplicates += duplicates
        waits = {owner: owner.join(durable=durable) for owner in shared}
        if new:
            if commit not in waits:  # it is there if the batch repeats one of its own events
                waits[commit] = commit.join(durable=durable)
            self._commit(commit, batch.events, identities, new, received_us)
        return Submission(identities.ids, new, list(waits.values()))

    def _receive(self, batch: Batch) -> None:
        if self._closed:
            raise ShuttingDownError
        self._ledger.receive(batch.size)

    def _commit(
        self,
        commit: Commit,
        events: Sequence[bytes] | pa.StructArray,
        identities: Identities,
        positions: Sequence[int],
        received_us: int,
    ) -> None:
        """Hand the events at `positions` to the WAL writer."""
        commit.keys = picked(identities.keys, positions)
        try:
            taken = self._wal_writer.submit(
                new_rows(events, identities, positions, received_us),
                received_us=received_us,
                keep=not commit.durable,
                done=functools.partial(self._settle, commit),
            )
        except Exception as unexpected:  # any error, because requests wait for the commit
            self._refuse(commit, unexpected)
            return
        if not taken:
            self._refuse(commit, BufferFullError(self._retry_after_s()))
        elif not commit.durable:
            commit.finish(None, durable=False)

    def _settle(self, commit: Commit, error: Exception | None) -> None:
        """Finish the commit after the WAL writer; `error` is set if it is not in the WAL."""
        if error is not None and commit.durable:
            self._refuse(commit, NotDurableError())
            return
        self._dedup.confirm(commit.keys)
        self._ledger.accept(len(commit.keys))
        self._ledger.settle("duplicate", commit.duplicates)
        commit.finish(None, durable=False)
        commit.finish(None if error is None else NotDurableError(), durable=True)

    def _refuse(self, commit: Commit, error: Exception) -> None:
        self._dedup.release(commit.keys)
        self._ledger.settle("refused", len(commit.keys) + commit.duplicates)
        commit.finish(error, durable=False)
        commit.finish(error, durable=True)
