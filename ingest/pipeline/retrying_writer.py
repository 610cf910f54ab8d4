"""Getting a flush into the table: try again what may work, set aside the rows that never will.

A permanent error bisects the rows until the bad ones are alone, and those become dead letters; the
others are stored. n rows with one bad one take about 2·log2(n) inserts. After `SINGLES_MAX` bad
rows in one flush what still fails is set aside in whole pieces: more is wrong then than rows.
Rows that storage has not the memory for are halved as well, and none of them set aside.
"""

import threading
import time
from collections.abc import Callable
from typing import Literal, Protocol

import pyarrow as pa
import structlog
import tenacity

from storage.errors import (
    OUT_OF_MEMORY,
    TOO_MANY_PARTS,
    PausedError,
    PermanentError,
    StorageError,
    TransientError,
)

RETRY_WAITS_S = (0.2, 30.0)
"""Between attempts: the first wait and the longest; every one is jittered by the first."""
TOO_MANY_PARTS_WAITS = 25
"""How many first waits it is at least when there are too many parts: 5 s."""
SINGLES_MAX = 100
OUT_OF_MEMORY_ATTEMPTS = 3
"""With the same rows, before they are halved: the server may be short of memory by chance."""
HALVED_ROWS_MIN = 1_000
"""Fewer need so little memory that it is not they who lack it."""
STALLED_S = 10.0
"""An attempt that takes longer counts as storage that does not answer, long before it times out."""

State = Literal["ok", "failed", "paused"]
"""Of storage: it took the last attempt; it did not, or has not yet; an operator must act."""

log = structlog.get_logger()


class AbandonedError(Exception):
    """The service stops, and storage has not taken the rows."""


class TooLargeError(Exception):
    """Storage has not the memory for so many rows at once."""


class RowWriter(Protocol):
    """What is needed of a writer; tests bring one that fails."""

    def open(self) -> None: ...
    def write(self, rows: pa.Table, *, token: str) -> None: ...
    def close(self) -> None: ...


class DeadLetterSink(Protocol):
    """Where dead letters go."""

    def add(self, rows: pa.Table, error: StorageError) -> None: ...


class RetryingWriter:
    """Belongs to the flusher's thread; only `abandon` may be called from another."""

    def __init__(
        self,
        *,
        writer: RowWriter,
        dead_letters: DeadLetterSink,
        failed: Callable[[StorageError], None],
        retry_waits_s: tuple[float, float] = RETRY_WAITS_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """failed: called for every failed attempt; clock: monotonic, in seconds."""
        self._writer = writer
        self._dead_letters = dead_letters
        self._failed = failed
        self._retry_waits_s = retry_waits_s
        self._clock = clock
        self._state: State = "ok"
        self._said: tuple[State, int | None] = ("ok", None)
        self._attempt_began_s: float | None = None
        self._recoveries = 0
        self._abandon = threading.Event()

    @property
    def state(self) -> State:
        """How storage took the last attempt; "failed" while one takes longer than STALLED_S."""
        return "failed" if self._state == "ok" and self.is_stalled else self._state

    @property
    def is_stalled(self) -> bool:
        """Whether an attempt has gone on for longer than STALLED_S."""
        began_s = self._attempt_began_s
        return began_s is not None and self._clock() - began_s > STALLED_S

    @property
    def recoveries(self) -> int:
        """How often storage has worked again after it did not."""
        return self._recoveries

    def abandon(self) -> None:
        """End whatever is still being tried."""
        self._abandon.set()

    def open(self) -> None:
        """Open storage, however long that takes. Raises AbandonedError."""
        self._until_it_works(self._open)

    def close(self) -> None:
        self._writer.close()

    def store(self, rows: pa.Table, *, token: str) -> int:
        """Store `rows` and return how many of them became dead letters. Raises AbandonedError.

        token: the same for the same rows in the same order.
        """
        set_aside = 0
        pieces = [(rows, token)]
        while pieces:
            piece, piece_token = pieces.pop()
            refusal: PermanentError | None = None
            try:
                self._until_it_works(
                    lambda: self._writer.write(piece, token=piece_token),  # noqa: B023
                    can_halve=piece.num_rows >= HALVED_ROWS_MIN,
                )
                continue
            except TooLargeError:
                log.warning("storage lacks memory for a flush: halving it", rows=piece.num_rows)
            except PermanentError as error:
                refusal = error
            if refusal is None or (piece.num_rows > 1 and set_aside < SINGLES_MAX):
                middle = piece.num_rows // 2
                # The same halves have the same tokens when it is all done again after a crash.
                pieces += [
                    (piece.slice(middle), f"{piece_token}.1"),
                    (piece.slice(0, middle), f"{piece_token}.0"),
                ]
                continue
            log.error(
                "storage refuses rows for good: set aside as dead letters",
                rows=piece.num_rows,
                error=str(refusal),
                code=refusal.code,
            )
            self._until_it_works(lambda: self._dead_letters.add(piece, refusal))  # noqa: B023
            set_aside += piece.num_rows
        return set_aside

    def _open(self) -> None:
        try:
            self._writer.open()
        except PermanentError as error:  # there are no rows yet whose fault it could be
            raise PausedError(str(error), error.code) from error

    def _until_it_works(self, attempt: Callable[[], None], *, can_halve: bool = False) -> None:
        """Raises PermanentError at once, AbandonedError at a stop, TooLargeError if can_halve."""
        try:
            for retry in tenacity.Retrying(
                retry=tenacity.retry_if_not_exception_type((PermanentError, TooLargeError)),
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
            self._state, self._said = "ok", ("ok", None)
            self._recoveries += 1
            log.info("storage takes rows again")

    def _wait_s(self, state: tenacity.RetryCallState) -> float:
        first_s, longest_s = self._retry_waits_s
        backoff = tenacity.wait_exponential_jitter(
            multiplier=first_s, max=longest_s, jitter=first_s
        )
        error = state.outcome.exception() if state.outcome is not None else None
        if getattr(error, "code", None) == TOO_MANY_PARTS:
            # Storage must merge before it can take more: fewer and larger inserts help it.
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
                raise TooLargeError from error
            raise
        except Exception as error:  # a bug, or a disk; the flusher must outlive it
            self._note(TransientError(f"{type(error).__name__}: {error}"))
            raise
        finally:
            self._attempt_began_s = None

    def _note(self, error: StorageError) -> None:
        self._failed(error)
        self._state = "paused" if error.error_class == "paused" else "failed"
        said = (self._state, error.code)
        if self._said != said:  # one line for each reason, not for each attempt
            self._said = said
            log.error(
                "storage does not take rows: keeping them and trying again",
                error=str(error),
                code=error.code,
                error_class=error.error_class,
            )
