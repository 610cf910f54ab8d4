"""Small requests, gathered while others are under way and taken as one.

One group at a time: the first request that comes is taken at once, and those that come until it is
in the log are the next group. So nobody waits when there is little to do, and when there is much
the groups become as large as they need to be.

PERF: to parse, identify, deduplicate and commit 50 events in one go takes 10 µs for each, and one
by one 50; and what is large together is parsed outside the GIL, as one large request is.

Belongs to the event loop.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence

from ingest.parsing.parser import Group
from ingest.pipeline.ingestor import Ingestor, Receipt, Submitted

BYTES_MAX = 512 * 1024
"""PERF: a larger group saves no more of what parsing costs however little it is, and the more
requests are in one the more of them are parsed one by one when one of them is not plainly valid."""

Waiter = asyncio.Future[Receipt]


class RequestBatcher:
    def __init__(
        self,
        *,
        parse: Callable[[Sequence[bytes]], Awaitable[Group]],
        ingestor: Ingestor,
        durable: bool,
        requests_max: int,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        """durable: whether events are acknowledged only when they are in the log; requests_max,
        bytes_max: at how many, or at how much in their bodies, they wait for no other group."""
        self._parse = parse
        self._ingestor = ingestor
        self._durable = durable
        self._requests_max = requests_max
        self._bytes_max = bytes_max
        self._bodies: list[bytes] = []
        self._bytes = 0
        self._waiters: list[Waiter] = []
        self._is_due = False
        self._groups: set[asyncio.Task[None]] = set()

    def take(self, body: bytes) -> Waiter:
        """Done when the events in `body` may be acknowledged; raises IngestError."""
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        self._bodies.append(body)
        self._bytes += len(body)
        self._waiters.append(waiter)
        if len(self._bodies) >= self._requests_max or self._bytes >= self._bytes_max:
            self._start()
        elif not self._groups and not self._is_due:
            self._is_due = True
            loop.call_soon(self._start_due)  # with all that come in this turn of the loop
        return waiter

    def _start_due(self) -> None:
        self._is_due = False
        if self._bodies:
            self._start()

    def _start(self) -> None:
        """Make a group of what was gathered."""
        group = asyncio.create_task(self._ingest(self._bodies, self._waiters))
        self._groups.add(group)
        group.add_done_callback(self._done)
        self._bodies, self._bytes, self._waiters = [], 0, []

    def _done(self, group: asyncio.Task[None]) -> None:
        self._groups.discard(group)
        if self._bodies and not self._groups:
            self._start()

    async def _ingest(self, bodies: Sequence[bytes], waiters: Sequence[Waiter]) -> None:
        try:
            group = await self._parse(bodies)
            for index, refusal in group.errors.items():
                _finish(waiters[index], refusal)
            submitted = self._ingestor.submit(
                group.batch, idempotency_key=None, durable=self._durable, alone=True
            )
            # Should an earlier commit fail whose events came again here, then all of these are
            # refused: those that were kept are known when they are sent again.
            for wait in submitted.waits:
                await wait
            _answer(waiters, group.counts, submitted)
        except Exception as error:  # whatever it is, the waiting requests must hear of it
            for waiter in waiters:
                _finish(waiter, error)


def _answer(waiters: Sequence[Waiter], counts: Sequence[int], submitted: Submitted) -> None:
    ids, fresh = submitted.ids, submitted.fresh
    start = 0
    for waiter, count in zip(waiters, counts, strict=True):
        end = start + count
        duplicates = 0
        if len(fresh) < len(ids):
            duplicates = count - (bisect_left(fresh, end) - bisect_left(fresh, start))
        _finish(waiter, Receipt(ids[start:end], duplicates, ()))
        start = end


def _finish(waiter: Waiter, outcome: Exception | Receipt) -> None:
    if waiter.done():
        return
    if isinstance(outcome, Exception):
        waiter.set_exception(outcome)
    else:
        waiter.set_result(outcome)
