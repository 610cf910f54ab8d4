"""The books: every event that comes in ends in exactly one outcome.

Double entry: an event is counted as received and in flight in one step, and moves from in flight to
its outcome in one step, so that at every reading

    received = stored + duplicate + rejected + refused + dead-lettered + lost + in flight.
"""

import threading
from dataclasses import dataclass, replace
from typing import Literal

Outcome = Literal["stored", "duplicate", "rejected", "refused", "dead_lettered", "lost"]


@dataclass(slots=True)
class EventCounts:
    """Events since the start of this process, those received being what came in or was found in the
    log. accepted: acknowledged, duplicates not included; lost: by a disk, after they were on it."""

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
    """Thread-safe: requests and the flusher write, a scrape reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._books = EventCounts()

    def receive(self, events: int) -> None:
        """`events` came in and are in flight from now on."""
        with self._lock:
            self._books.received += events
            self._books.in_flight += events

    def accept(self, events: int) -> None:
        """`events` in flight are now in the buffer and will be acknowledged."""
        with self._lock:
            self._books.accepted += events

    def settle(self, outcome: Outcome, events: int) -> None:
        """`events` leave flight for their outcome."""
        with self._lock:
            self._books.in_flight -= events
            setattr(self._books, outcome, getattr(self._books, outcome) + events)

    def read(self) -> EventCounts:
        """A consistent copy."""
        with self._lock:
            return replace(self._books)
