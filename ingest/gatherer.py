"""Single events, gathered for a moment and taken as one batch.

PERF: to parse, identify, deduplicate and commit 50 events in one go takes 10 µs for each, and one
by one 50. Nobody waits longer for it: the log, which is written in groups, would make them wait.

Belongs to the event loop.
"""

import asyncio
from collections.abc import Callable, Sequence

from ingest.ingestor import Ingestor, Submitted
from ingest.parse import parse_each

Taken = tuple[str, bool]
"""(id, whether it was known already) of an event that may be acknowledged."""


class Gatherer:
    def __init__(
        self,
        *,
        ingestor: Ingestor,
        settled: Callable[[], "asyncio.Future[None]"],
        durable: bool,
        wait_s: float,
        events_max: int,
    ) -> None:
        """settled: done when the log has what it was given; durable: whether events are
        acknowledged only then; wait_s: how long events are gathered at least; events_max: at how
        many they no longer are."""
        self._ingestor = ingestor
        self._settled = settled
        self._durable = durable
        self._wait_s = wait_s
        self._events_max = events_max
        self._bodies: list[bytes] = []
        self._waiters: list[asyncio.Future[Taken]] = []
        self._is_sealing = False

    def take(self, body: bytes) -> "asyncio.Future[Taken]":
        """Done when the event in `body` may be acknowledged; raises IngestError."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Taken] = loop.create_future()
        self._bodies.append(body)
        self._waiters.append(waiter)
        if len(self._bodies) >= self._events_max:
            self._seal()
        elif not self._is_sealing:
            self._is_sealing = True
            loop.call_later(self._wait_s, self._seal_when_settled)
        return waiter

    def _seal_when_settled(self) -> None:
        self._settled().add_done_callback(self._seal_now)

    def _seal_now(self, _: object) -> None:
        self._is_sealing = False
        if self._bodies:
            self._seal()

    def _seal(self) -> None:
        """Ingest what was gathered."""
        bodies, self._bodies = self._bodies, []
        waiters, self._waiters = self._waiters, []
        try:
            batch, errors = parse_each(bodies)
            for index, refusal in errors.items():
                _finish(waiters[index], refusal)
            waiters = [waiters[index] for index in batch.indexes]
            submitted = self._ingestor.submit(
                batch, idempotency_key=None, durable=self._durable, alone=True
            )
        except Exception as error:  # whatever it is, the waiting requests must hear of it
            for waiter in waiters:
                _finish(waiter, error)
            return
        # Should an earlier commit fail whose events came again here, then all of these are refused:
        # those that were kept are known when they are sent again.
        waits = submitted.waits
        together = waits[0] if len(waits) == 1 else asyncio.gather(*waits)
        together.add_done_callback(lambda done: _settle(done, waiters, submitted))


def _settle(
    done: "asyncio.Future[None] | asyncio.Future[list[None]]",
    waiters: Sequence["asyncio.Future[Taken]"],
    submitted: Submitted,
) -> None:
    error = done.exception()
    fresh = set(submitted.fresh)
    for position, (waiter, event_id) in enumerate(zip(waiters, submitted.ids, strict=True)):
        _finish(waiter, error or (event_id, position not in fresh))


def _finish(waiter: "asyncio.Future[Taken]", outcome: BaseException | Taken) -> None:
    if waiter.done():
        return
    if isinstance(outcome, BaseException):
        waiter.set_exception(outcome)
    else:
        waiter.set_result(outcome)
