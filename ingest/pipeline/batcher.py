"""The request batcher: small requests that arrive close together are ingested as one group.

Only one group is under way at a time. The first request is a group of its own. The requests that
arrive until it is in the WAL form the next group. So no request waits if the load is low, and
groups grow with the load.

PERF: parsing, identifying, deduplicating and committing takes 10 µs for each event in a group of
50, and 50 µs for an event alone. A large group is parsed outside the GIL, like a large request.

Belongs to the event loop.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from ingest.parsing.batch import Group
from ingest.parsing.formats import JsonFormat
from ingest.parsing.parser import Parser
from ingest.pipeline.committer import Committer, Submission
from ingest.pipeline.request import Receipt

BYTES_MAX = 512 * 1024
"""Bytes of bodies at which a group is started.

PERF: larger groups do not make parsing cheaper. If one body of a group is not plainly valid, all
bodies of the group are parsed one by one.
"""

Waiter = asyncio.Future[Receipt]


@dataclass(slots=True)
class _Gathered:
    """Requests that wait to become a group."""

    bodies: list[bytes] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    waiters: list[Waiter] = field(default_factory=list)
    bytes: int = 0


class RequestBatcher:
    """Batches requests that have the same format and the same acknowledgement level."""

    def __init__(
        self,
        body_format: JsonFormat,
        *,
        parser: Parser,
        committer: Committer,
        durable: bool,
        requests_max: int,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        """Connect the parts, and set the limits of a group.

        Args:
            body_format: format of every request.
            parser: parses a group.
            committer: commits a group.
            durable: whether requests are acknowledged only once their events are in the WAL.
            requests_max: requests at which a group no longer waits for the group before it.
            bytes_max: bytes of bodies at which a group no longer waits.
        """
        self._body_format = body_format
        self._parser = parser
        self._committer = committer
        self._durable = durable
        self._requests_max = requests_max
        self._bytes_max = bytes_max
        self._next = _Gathered()
        self._is_due = False
        self._groups: set[asyncio.Task[None]] = set()

    def add(self, body: bytes, idempotency_key: str | None = None) -> Waiter:
        """Add a request to the next group.

        Args:
            body: the decompressed body.
            idempotency_key: the Idempotency-Key of the request.

        Returns:
            A future of the receipt. It is done when the events may be acknowledged, and raises
            IngestError if the request is rejected or refused.
        """
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        gathered = self._next
        gathered.bodies.append(body)
        gathered.keys.append(idempotency_key)
        gathered.waiters.append(waiter)
        gathered.bytes += len(body)
        if len(gathered.bodies) >= self._requests_max or gathered.bytes >= self._bytes_max:
            self._start_group()
        elif not self._groups and not self._is_due:
            self._is_due = True
            loop.call_soon(self._start_due)  # later, so that it gets all requests of this turn
        return waiter

    def _start_due(self) -> None:
        self._is_due = False
        if self._next.bodies:
            self._start_group()

    def _start_group(self) -> None:
        group = asyncio.create_task(self._ingest(self._next))
        self._groups.add(group)
        group.add_done_callback(self._end_group)
        self._next = _Gathered()

    def _end_group(self, group: asyncio.Task[None]) -> None:
        self._groups.discard(group)
        if self._next.bodies and not self._groups:
            self._start_group()

    async def _ingest(self, gathered: _Gathered) -> None:
        try:
            group = await self._parser.parse_group(self._body_format, gathered.bodies)
            for index, error in group.unreadable.items():
                _finish(gathered.waiters[index], error)
            for index, batch in group.invalid.items():
                _finish(gathered.waiters[index], self._committer.reject(batch))
            submission = self._committer.submit(
                group.batch, idempotency_keys=_keys_by_event(group, gathered), durable=self._durable
            )
            # If an earlier commit fails, and an event here repeats one of its events, the whole
            # group is refused. Events that were kept are duplicates when they are sent again.
            for wait in submission.waits:
                await wait
            _give_receipts(gathered.waiters, group.counts, submission)
        except Exception as error:  # any error, because the requests of the group wait for it
            for waiter in gathered.waiters:
                _finish(waiter, error)


def _keys_by_event(group: Group, gathered: _Gathered) -> Sequence[str | None] | None:
    """Return the idempotency key of each event's request; None if no request has one.

    Sets the indexes of the events to their positions in their own requests, because an id made from
    an idempotency key depends on them.
    """
    if not any(gathered.keys):
        return None
    group.batch.indexes = [index for count in group.counts for index in range(count)]
    counted = zip(gathered.keys, group.counts, strict=True)
    return [key for key, count in counted for _ in range(count)]


def _give_receipts(
    waiters: Sequence[Waiter], counts: Sequence[int], submission: Submission
) -> None:
    """Give each request its part of the group; `counts` has the events of each request."""
    ids, new = submission.ids, submission.new
    start = 0
    for waiter, count in zip(waiters, counts, strict=True):
        end = start + count
        duplicates = 0
        if len(new) < len(ids):
            duplicates = count - (bisect_left(new, end) - bisect_left(new, start))
        _finish(waiter, Receipt(ids[start:end], duplicates, ()))
        start = end


def _finish(waiter: Waiter, outcome: Exception | Receipt) -> None:
    if waiter.done():
        return
    if isinstance(outcome, Exception):
        waiter.set_exception(outcome)
    else:
        waiter.set_result(outcome)
