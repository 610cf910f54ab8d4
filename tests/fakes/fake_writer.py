"""A fake writer and sink of dead letters: it keeps all rows, and fails when told to."""

import threading
from dataclasses import dataclass, field

import pyarrow as pa

from storage.errors import PermanentError, StorageError


@dataclass
class FakeWriter:
    """A writer in memory.

    Attributes:
        failures: errors that the next attempts raise, in order.
        down: error that every attempt raises; None for no error.
        attempts: token and rows of every write.
        stored: token and rows of every successful write.
        poison: ids; a write with one of them raises PermanentError.
        dead: ids of dead letters.
        opened: number of calls of `open`.
        closed: whether `close` was called.
        attempted: set by the first write.
    """

    failures: list[StorageError] = field(default_factory=list)
    down: StorageError | None = None
    attempts: list[tuple[str, pa.Table]] = field(default_factory=list)
    stored: list[tuple[str, pa.Table]] = field(default_factory=list)
    poison: set[str] = field(default_factory=set)
    dead: list[str] = field(default_factory=list)
    opened: int = 0
    closed: bool = False
    attempted: threading.Event = field(default_factory=threading.Event)

    def open(self) -> None:
        self.opened += 1
        self._fail()

    def write(self, rows: pa.Table, *, token: str) -> None:
        self.attempts.append((token, rows))
        self.attempted.set()
        self._fail()
        if self.poison.intersection(rows.column("id").to_pylist()):
            raise PermanentError("poison", 6)
        self.stored.append((token, rows))

    def add(self, rows: pa.Table, error: StorageError) -> None:
        self.dead += rows.column("id").to_pylist()

    def close(self) -> None:
        self.closed = True

    def _fail(self) -> None:
        if self.down is not None:
            raise self.down
        if self.failures:
            raise self.failures.pop(0)
