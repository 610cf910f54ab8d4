"""The request batcher: small requests that arrive close together are ingested as one group.

One group at a time: the first request is taken at once, and those that arrive until it is in the
WAL form the next group. So nobody waits when there is little to do, and under load groups become as
large as they need to be.

PERF: to parse, identify, deduplicate and commit 50 events in one go takes 10 µs for each, and one
by one 50 µs. A group that is large is parsed outside the GIL, as one large request is.

Belongs to the event loop.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from ingest.parsing.batch import Group
from ingest.parsing.formats import BodyFormat
from ingest.parsing.parser import Parser
from ingest.pipeline.committer import Committer, Submission
from ingest.pipeline.request import Receipt

BYTES_MAX = 512 * 1024
"""PERF: a larger group saves no more of what parsing costs. The more requests are in a group, the
more of them are parsed one by one when one of them is not plainly valid."""

Waiter = asyncio.Future[Receipt]


@dataclass(slots=True)
class _Gathered:
    """Requests that wait to become a group."""

    bodies: list[bytes] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    waiters: list[Waiter] = field(default_factory=list)
    bytes: int = 0


class RequestBatcher:
    """Batches the requests of one format that share one acknowledgement level."""

    def __init__(
        self,
        body_format: BodyFormat,
        *,
        parser: Parser,
        committer: Committer,
        durable: bool,
        requests_max: int,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        """Set the limits of a group.

        Args:
            body_format: of every request.
            parser: parses a group.
            committer: commits it.
            durable: whether a request is acknowledged only once it is in the WAL.
            requests_max: requests at which a group no longer waits for the one before it.
            bytes_max: bytes of bodies at which it no longer waits.
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
        """Return a future of the receipt, done when the events in `body` may be acknowledged.

        Awaiting it raises IngestError when the request is refused.
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
            loop.call_soon(self._start_due)  # with all that arrive in this turn of the loop
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
            for index, refusal in group.errors.items():
                _finish(gathered.waiters[index], refusal)
            submission = self._committer.submit(
                group.batch, idempotency_keys=_keys_by_event(group, gathered), durable=self._durable
            )
            # If an earlier commit fails whose events are repeated here, the whole group is refused.
            # Events that were kept are duplicates when they are sent again.
            for wait in submission.waits:
                await wait
            _give_receipts(gathered.waiters, group.counts, submission)
        except Exception as error:  # whatever it is, the waiting requests must hear of it
            for waiter in gathered.waiters:
                _finish(waiter, error)


def _keys_by_event(group: Group, gathered: _Gathered) -> Sequence[str | None] | None:
    """Return the idempotency key of each event's request; None if no request has one.

    An id that is made of a key contains the position of the event in its own request.
    """
    if not any(gathered.keys):
        return None
    group.batch.indexes = [index for count in group.counts for index in range(count)]
    counted = zip(gathered.keys, group.counts, strict=True)
    return [key for key, count in counted for _ in range(count)]


def _give_receipts(
    waiters: Sequence[Waiter], counts: Sequence[int], submission: Submission
) -> None:
    """Give each request its part of the group; counts: events of each request."""
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
