"""The ledger counts every event that comes in, and its one outcome.

One step counts an event as received and in flight. One later step moves it from in flight to its
outcome. So this holds at every reading:

    received = stored + duplicate + rejected + refused + dead-lettered + lost + in flight.
"""

import threading
from dataclasses import dataclass
from typing import Literal, get_args

Outcome = Literal["stored", "duplicate", "rejected", "refused", "dead_lettered", "lost"]


@dataclass(slots=True)
class EventCounts:
    """Numbers of events since the start of this process.

    Attributes:
        received: came in by a request, or were found in the WAL.
        accepted: acknowledged, without duplicates.
        stored: confirmed by storage.
        duplicate: acknowledged, but not stored again.
        rejected: they, or others of their request, were invalid.
        refused: valid, but there was no room, or the WAL could not be written.
        dead_lettered: refused by storage and kept as dead letters.
        lost: written to the WAL, and unreadable there later.
        in_flight: received, without an outcome yet.
    """

    received: int = 0
    accepted: int = 0
    stored: int = 0
    duplicate: int = 0
    rejected: int = 0
    refused: int = 0
    dead_lettered: int = 0
    lost: int = 0
    in_flight: int = 0


class Ledger:
    """Thread-safe event counts. Requests and the flusher write them, a scrape reads them."""

    def __init__(self) -> None:
        """Start with every count at 0."""
        self._lock = threading.Lock()
        self._received = 0
        self._accepted = 0
        self._in_flight = 0
        self._by_outcome: dict[Outcome, int] = dict.fromkeys(get_args(Outcome), 0)

    def receive(self, events: int) -> None:
        """Count `events` as received and in flight."""
        with self._lock:
            self._received += events
            self._in_flight += events

    def accept(self, events: int) -> None:
        """Count `events` in flight as accepted: they are in the buffer and will be acknowledged."""
        with self._lock:
            self._accepted += events

    def settle(self, outcome: Outcome, events: int) -> None:
        """Move `events` from in flight to their outcome."""
        with self._lock:
            self._in_flight -= events
            self._by_outcome[outcome] += events

    def read(self) -> EventCounts:
        """Return all counts of one moment."""
        with self._lock:
            return EventCounts(
                received=self._received,
                accepted=self._accepted,
                in_flight=self._in_flight,
                **self._by_outcome,
            )
