"""The committer: identifies events, deduplicates them, and commits the new ones.

The one place that decides the outcome of every event of a request: rejected, duplicate, refused or
accepted, each counted in the ledger. New events go to the WAL writer.

Belongs to the event loop; nothing in here waits.
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
from ingest.pipeline.rows import new_rows
from ingest.pipeline.wal_writer import WalWriter


class Commit:
    """The new events of one batch, and the requests that wait for them.

    A request that repeats an event shares the fate of the commit that has the event.
    """

    def __init__(self, *, durable: bool) -> None:
        """Start a commit that is acknowledged once it is in the WAL, or else in the buffer."""
        self.durable = durable
        self.keys: Sequence[str] = ()
        self.duplicates = 0
        self._waiters: list[tuple[bool, asyncio.Future[None]]] = []

    def join(self, *, durable: bool) -> asyncio.Future[None]:
        """Return a future that is done when the commit is; it raises what the commit failed with.

        Args:
            durable: whether to wait for the WAL; False waits for the buffer only.
        """
        # A future for each waiter: one that is cancelled must not take the others with it.
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
    """What became of the valid events of a batch.

    Attributes:
        ids: of the valid events, in order.
        new: positions of the events that were not deduplicated.
        waits: to await before any of the events may be acknowledged, duplicates included; each
            raises IngestError when its commit failed.
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
        """Join the parts; `retry_after_s` is told to clients when there is no room."""
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
        """Count all events of `batch` as rejected, and return the error that says why.

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
            batch: of one request, or of many that were batched.
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
        # Nothing is awaited from here to the WAL writer: a receive time that it does not have yet
        # would be older than the watermark.
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
            if commit not in waits:  # it is when the batch repeats an event of its own
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
        everything = len(positions) == len(identities.keys)
        keys = identities.keys
        commit.keys = keys if everything else [keys[position] for position in positions]
        try:
            taken = self._wal_writer.submit(
                new_rows(events, identities, positions, received_us),
                received_us=received_us,
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
        """The WAL writer is done with the commit."""
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
