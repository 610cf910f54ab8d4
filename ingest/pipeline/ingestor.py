"""The way of a request's events: identify, deduplicate, commit; the receipt says how."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ingest.clock import Clock
from ingest.errors import EventError, NotStoredError, RejectedError, ShuttingDownError
from ingest.ledger import Ledger
from ingest.parsing.validation import Batch
from ingest.pipeline.committer import Committer
from ingest.pipeline.identity import identify

Ack = Literal["buffered", "durable", "stored"]
"""What a 201 promises: the events are in memory, in the log on disk, or in the table."""
ACKS: tuple[Ack, ...] = get_args(Ack)


@dataclass(slots=True)  # PERF: frozen costs 0.2 µs for each field
class Receipt:
    """The reply to a request.

    ids: one for each event in order, None where it was rejected; duplicates: how many of the
    accepted ones were known already; rejected: why others were not accepted.
    """

    ids: Sequence[str | None]
    duplicates: int
    rejected: Sequence[EventError]


@dataclass(slots=True)
class Submitted:
    """ids: of the valid events, in order; fresh: the positions of those that were not known; waits:
    to await before any of them may be acknowledged, raising IngestError."""

    ids: Sequence[str]
    fresh: Sequence[int]
    waits: Sequence[asyncio.Future[None]]


class Ingestor:
    def __init__(
        self,
        *,
        committer: Committer,
        ledger: Ledger,
        clock: Clock,
        stored: Callable[[], Awaitable[object]],
        stored_timeout_s: float,
    ) -> None:
        """stored: returns when everything buffered so far is; stored_timeout_s: how long
        `ack=stored` waits for that."""
        self._stored = stored
        self._stored_timeout_s = stored_timeout_s
        self._committer = committer
        self._ledger = ledger
        self._clock = clock
        self._closed = False

    async def ingest(
        self, batch: Batch, *, idempotency_key: str | None, partial: bool, ack: Ack
    ) -> Receipt:
        """Accept the events of one request. Returns when `ack` holds for all of them.

        partial: accept the valid ones even if others are not. Raises IngestError, and then nothing
        of the request was accepted that was not accepted before.
        """
        if self._closed:
            raise ShuttingDownError
        if not batch.size:
            return Receipt((), 0, ())
        rejected = batch.size - len(batch.events)
        if rejected and not (partial and batch.events):
            self._ledger.receive(batch.size)
            self._ledger.settle("rejected", batch.size)
            raise RejectedError(list(batch.rejected), rejected)
        submitted = self.submit(batch, idempotency_key=idempotency_key, durable=ack != "buffered")
        for wait in submitted.waits:
            await wait
        if ack == "stored":
            await self._until_stored()
        ids: list[str | None] = list(submitted.ids)
        if rejected:
            ids = [None] * batch.size
            for index, event_id in zip(batch.indexes, submitted.ids, strict=True):
                ids[index] = event_id
        return Receipt(ids, len(batch.events) - len(submitted.fresh), batch.rejected)

    def submit(
        self, batch: Batch, *, idempotency_key: str | None, durable: bool, alone: bool = False
    ) -> Submitted:
        """Identify, deduplicate and commit the valid events of `batch`; the others are rejected.

        durable, alone: see `Committer.submit`. Raises ShuttingDownError.
        """
        if self._closed:
            raise ShuttingDownError
        self._ledger.receive(batch.size)
        rejected = batch.size - len(batch.events)
        if rejected:
            self._ledger.settle("rejected", rejected)
        # Nothing is awaited from here to the commit: a receive time that is not yet in a commit
        # would be older than the watermark.
        received_us = self._clock.now_us()
        identities = identify(batch, idempotency_key=idempotency_key, received_us=received_us)
        fresh, waits = self._committer.submit(
            batch.events, identities, received_us=received_us, durable=durable, alone=alone
        )
        return Submitted(identities.ids, fresh, waits)

    async def _until_stored(self) -> None:
        try:
            async with asyncio.timeout(self._stored_timeout_s):
                await self._stored()
        except TimeoutError as error:
            raise NotStoredError from error

    def close(self) -> None:
        """Take no more events, and commit what was taken."""
        self._closed = True
        self._committer.seal()
