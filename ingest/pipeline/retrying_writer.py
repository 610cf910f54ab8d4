"""The retrying writer: inserts the rows of a flush, with retries, until all are stored.

- After a transient error or a pause, the same rows are inserted again.
- After a permanent error, the rows are halved until each bad row is found. Bad rows become dead
  letters, the others are stored. n rows with one bad row take about 2·log2(n) inserts.
- After `SINGLES_MAX` bad rows in one flush, pieces are no longer halved. A piece that fails becomes
  dead letters as a whole, because then the cause is probably not single rows.
- If storage lacks memory for the rows, they are halved, too, but none become dead letters.
"""

import threading
import time
from collections.abc import Callable
from typing import Literal

import pyarrow as pa
import structlog
import tenacity

from storage.clickhouse.writer import Writer
from storage.dead_letters import DeadLetters
from storage.errors import (
    OUT_OF_MEMORY,
    TOO_MANY_PARTS,
    PausedError,
    PermanentError,
    StorageError,
    TransientError,
)

RETRY_WAITS_S = (0.2, 30.0)
"""The first and the longest wait between attempts. A jitter of up to the first wait is added."""
TOO_MANY_PARTS_WAITS = 25
"""The shortest wait after TOO_MANY_PARTS, in multiples of the first wait: 5 s."""
SINGLES_MAX = 100
"""Bad rows in one flush after which pieces are no longer halved."""
OUT_OF_MEMORY_ATTEMPTS = 3
"""Attempts with the same rows before they are halved. The lack of memory may be temporary."""
HALVED_ROWS_MIN = 1_000
"""Fewer rows are not halved for lack of memory, because they need too little to be the cause."""
STALLED_S = 10.0
"""An attempt that takes longer counts as failed storage. The timeout of an insert is longer."""

State = Literal["ok", "failed", "paused"]
"""The state of storage.

ok: the last attempt succeeded. failed: the last attempt failed, or one takes too long. paused: the
last attempt failed, and an operator must act.
"""

log = structlog.get_logger()


class AbandonedError(Exception):
    """The service stops before the rows are stored."""


class FlushTooLargeError(Exception):
    """Storage lacks memory for so many rows at once."""


class RetryingWriter:
    """Writes rows with retries until they are stored or dead-lettered.

    Belongs to the flusher's thread. Other threads may only read the properties and call `abandon`.
    """

    def __init__(
        self,
        *,
        writer: Writer,
        dead_letters: DeadLetters,
        failed: Callable[[StorageError], None],
        retry_waits_s: tuple[float, float] = RETRY_WAITS_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set what to write to, and when to retry.

        Args:
            writer: writes to the table.
            dead_letters: keeps rows that storage refuses for good.
            failed: called for every failed attempt.
            retry_waits_s: the first and the longest wait between attempts, in seconds.
            clock: returns monotonic time, in seconds.
        """
        self._writer = writer
        self._dead_letters = dead_letters
        self._failed = failed
        self._retry_waits_s = retry_waits_s
        self._clock = clock
        self._state: State = "ok"
        self._logged: tuple[State, int | None] = ("ok", None)
        self._attempt_began_s: float | None = None
        self._recoveries = 0
        self._abandon = threading.Event()

    @property
    def state(self) -> State:
        """The state after the last attempt; "failed" while an attempt is stalled."""
        return "failed" if self._state == "ok" and self.is_stalled else self._state

    @property
    def is_stalled(self) -> bool:
        """Whether an attempt has been running for longer than STALLED_S."""
        began_s = self._attempt_began_s
        return began_s is not None and self._clock() - began_s > STALLED_S

    @property
    def recoveries(self) -> int:
        """How often an attempt has succeeded after one had failed."""
        return self._recoveries

    def abandon(self) -> None:
        """Stop retrying, now and later. A running attempt is not interrupted."""
        self._abandon.set()

    def open(self) -> None:
        """Open storage, with retries.

        Raises:
            AbandonedError: `abandon` was called.
        """
        self._retry(self._open)

    def close(self) -> None:
        """Close storage."""
        self._writer.close()

    def store(self, rows: pa.Table, *, token: str) -> int:
        """Store rows, with retries.

        Args:
            rows: the rows.
            token: deduplication token; the same for the same rows in the same order.

        Returns:
            How many of the rows became dead letters.

        Raises:
            AbandonedError: `abandon` was called.
        """
        dead_lettered = 0
        pieces = [(rows, token)]
        while pieces:
            piece, piece_token = pieces.pop()
            refusal: PermanentError | None = None
            try:
                self._retry(
                    lambda: self._writer.write(piece, token=piece_token),  # noqa: B023
                    can_halve=piece.num_rows >= HALVED_ROWS_MIN,
                )
                continue
            except FlushTooLargeError:
                log.warning("storage lacks memory for a flush: halving it", rows=piece.num_rows)
            except PermanentError as error:
                refusal = error
            if refusal is None or (piece.num_rows > 1 and dead_lettered < SINGLES_MAX):
                middle = piece.num_rows // 2
                # If the flush is repeated after a crash, the same halves get the same tokens.
                pieces += [
                    (piece.slice(middle), f"{piece_token}.1"),
                    (piece.slice(0, middle), f"{piece_token}.0"),
                ]
                continue
            log.error(
                "storage refuses rows for good: they are kept as dead letters",
                rows=piece.num_rows,
                error=str(refusal),
                code=refusal.code,
            )
            self._retry(lambda: self._dead_letters.add(piece, refusal))  # noqa: B023
            dead_lettered += piece.num_rows
        return dead_lettered

    def _open(self) -> None:
        try:
            self._writer.open()
        except PermanentError as error:  # no rows were sent, so an operator must act
            raise PausedError(str(error), error.code) from error

    def _retry(self, attempt: Callable[[], None], *, can_halve: bool = False) -> None:
        """Call `attempt` until it succeeds.

        Args:
            attempt: what to try.
            can_halve: whether to raise FlushTooLargeError instead of retrying for lack of memory.

        Raises:
            AbandonedError: `abandon` was called.
            PermanentError: `attempt` raised it; it is not called again.
            FlushTooLargeError: storage lacks memory after OUT_OF_MEMORY_ATTEMPTS attempts.
        """
        try:
            for retry in tenacity.Retrying(
                retry=tenacity.retry_if_not_exception_type((PermanentError, FlushTooLargeError)),
                wait=self._wait_s,
                sleep=tenacity.sleep_using_event(self._abandon),
                stop=tenacity.stop_when_event_set(self._abandon),
            ):
                with retry:
                    last = retry.retry_state.attempt_number >= OUT_OF_MEMORY_ATTEMPTS
                    self._try(attempt, can_halve=can_halve and last)
        except tenacity.RetryError as error:
            raise AbandonedError from error
        if self._state != "ok":
            self._state, self._logged = "ok", ("ok", None)
            self._recoveries += 1
            log.info("storage takes rows again")

    def _wait_s(self, state: tenacity.RetryCallState) -> float:
        first_s, longest_s = self._retry_waits_s
        backoff = tenacity.wait_exponential_jitter(
            multiplier=first_s, max=longest_s, jitter=first_s
        )
        error = state.outcome.exception() if state.outcome is not None else None
        if getattr(error, "code", None) == TOO_MANY_PARTS:
            # Storage must merge parts first. Fewer and larger inserts help it.
            return max(backoff(state), min(longest_s, TOO_MANY_PARTS_WAITS * first_s))
        return backoff(state)

    def _try(self, attempt: Callable[[], None], *, can_halve: bool) -> None:
        self._attempt_began_s = self._clock()
        try:
            attempt()
        except PermanentError as error:
            self._failed(error)
            raise
        except StorageError as error:
            self._note(error)
            if can_halve and error.code == OUT_OF_MEMORY:
                raise FlushTooLargeError from error
            raise
        except Exception as error:  # a bug or a failing disk must not end the flusher
            self._note(TransientError(f"{type(error).__name__}: {error}"))
            raise
        finally:
            self._attempt_began_s = None

    def _note(self, error: StorageError) -> None:
        self._failed(error)
        self._state = "paused" if error.error_class == "paused" else "failed"
        reason = (self._state, error.code)
        if self._logged != reason:  # log each reason once, not each attempt
            self._logged = reason
            log.error(
                "storage does not take rows: keeping them and trying again",
                error=str(error),
                code=error.code,
                error_class=error.error_class,
            )
