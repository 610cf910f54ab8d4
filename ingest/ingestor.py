"""The way of a request's events: identify, deduplicate, commit; the receipt says how."""

from collections.abc import Sequence
from dataclasses import dataclass

from ingest.clock import Clock
from ingest.committer import Committer
from ingest.errors import EventError, RejectedError, ShuttingDownError
from ingest.identity import identify
from ingest.ledger import Ledger
from ingest.validate import Batch


@dataclass(slots=True)  # PERF: frozen costs 0.2 µs for each field
class Receipt:
    """The reply to a request.

    ids: one for each event in order, None where it was rejected; duplicates: how many of the
    accepted ones were known already; rejected: why others were not accepted.
    """

    ids: Sequence[str | None]
    duplicates: int
    rejected: Sequence[EventError]


class Ingestor:
    def __init__(self, *, committer: Committer, ledger: Ledger, clock: Clock) -> None:
        self._committer = committer
        self._ledger = ledger
        self._clock = clock
        self._closed = False

    async def ingest(self, batch: Batch, *, idempotency_key: str | None, partial: bool) -> Receipt:
        """Accept the events of one request. Returns when all of them are in the buffer.

        partial: accept the valid ones even if others are not. Raises IngestError, and then nothing
        of the request was accepted that was not accepted before.
        """
        if self._closed:
            raise ShuttingDownError
        if not batch.size:
            return Receipt((), 0, ())
        self._ledger.receive(batch.size)
        rejected = batch.size - len(batch.events)
        if rejected:
            if not (partial and batch.events):
                self._ledger.settle("rejected", batch.size)
                raise RejectedError(list(batch.rejected), rejected)
            self._ledger.settle("rejected", rejected)
        # Nothing is awaited from here to the commit: a receive time that is not yet in a commit
        # would be older than the watermark.
        received_us = self._clock.now_us()
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

    def close(self) -> None:
        """Take no more events, and buffer what was taken."""
        self._closed = True
        self._committer.seal()
