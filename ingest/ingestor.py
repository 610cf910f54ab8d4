"""The way of a request's events: validate, identify, deduplicate, commit; the receipt says how."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from ingest.clock import Clock
from ingest.columnar import COLUMNAR_EVENTS_MIN
from ingest.committer import Committer
from ingest.decode import Decoded
from ingest.errors import EventError, RejectedError, ShuttingDownError, TooLargeError
from ingest.identity import identify
from ingest.ledger import Ledger
from ingest.validate import Batch, validate


@dataclass(frozen=True, slots=True)
class Receipt:
    """The reply to a request.

    ids: one for each event in order, None where it was rejected; duplicates: how many of the
    accepted ones were known already; rejected: why others were not accepted.
    """

    ids: Sequence[str | None]
    duplicates: int
    rejected: Sequence[EventError]


class Ingestor:
    def __init__(
        self,
        *,
        committer: Committer,
        ledger: Ledger,
        clock: Clock,
        events_max: int,
        threads: Executor,
    ) -> None:
        """events_max: how many events one request may carry; threads: where many events at once
        become Arrow."""
        self._committer = committer
        self._ledger = ledger
        self._clock = clock
        self._events_max = events_max
        self._threads = threads
        self._closed = False

    async def ingest(
        self,
        decoded: Decoded,
        *,
        columnar: Callable[[], Batch | None] | None = None,
        idempotency_key: str | None,
        partial: bool,
    ) -> Receipt:
        """Accept the events of one request, whose decoded value is a list.

        Returns when all of them are in the buffer. columnar: the fast path for the same events;
        partial: accept the valid ones even if others are not. Raises IngestError, and then nothing
        of the request was accepted that was not accepted before.
        """
        self._check_open()
        events = len(decoded.value)
        if events > self._events_max:
            raise TooLargeError(
                f"A request may carry at most {self._events_max} events, not {events}"
            )
        batch = None
        if columnar is not None and events >= COLUMNAR_EVENTS_MIN and not decoded.flawed:
            batch = await asyncio.get_running_loop().run_in_executor(self._threads, columnar)
            self._check_open()
        # Nothing is awaited from here to the commit: a receive time that is not yet in a commit
        # would be older than the watermark.
        received_us = self._clock.now_us()
        batch = batch or validate(decoded)
        if not batch.size:
            return Receipt((), 0, ())
        self._ledger.receive(batch.size)
        rejected = batch.size - len(batch.events)
        if rejected:
            if not (partial and batch.events):
                self._ledger.settle("rejected", batch.size)
                raise RejectedError(list(batch.rejected), rejected)
            self._ledger.settle("rejected", rejected)
        identities = identify(batch, idempotency_key=idempotency_key, received_us=received_us)
        fresh, waits = self._committer.submit(batch.events, identities, received_us=received_us)
        for wait in waits:
            await wait
        ids: list[str | None] = list(identities.ids)
        if rejected:
            ids = [None] * batch.size
            for index, event_id in zip(batch.indexes, identities.ids, strict=True):
                ids[index] = event_id
        return Receipt(ids, len(batch.events) - fresh, batch.rejected)

    def _check_open(self) -> None:
        if self._closed:
            raise ShuttingDownError

    def close(self) -> None:
        """Take no more events, and buffer what was taken."""
        self._closed = True
        self._committer.seal()
