"""Which files a log has, how large they are, and which may go.

A segment whose rows are all stored is retained for a while: should the table lose a part, they are
still there. Retained segments give way first when room is short. Thread-safe.
"""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

RETAINED_SHARE_MAX = 0.5
"""Of the log's limit, what retained segments may take."""


@dataclass(slots=True)
class Segment:
    """next_sequence: after the last record in it; stored_s: when its rows were found to be stored,
    on the monotonic clock."""

    path: Path
    next_sequence: int
    bytes: int
    stored_s: float | None = None


class Segments:
    def __init__(self, *, bytes_max: int, retain_s: float) -> None:
        self._guard = threading.Lock()
        self._segments: list[Segment] = []
        self._bytes_max = bytes_max
        self._retain_s = retain_s

    @property
    def last(self) -> Segment:
        return self._segments[-1]

    def add(self, segment: Segment) -> None:
        """The newest one, in the place of one with the same path."""
        with self._guard:
            self._segments = [s for s in self._segments if s.path != segment.path]
            self._segments.append(segment)

    def grow(self, segment: Segment, *, size: int, next_sequence: int) -> None:
        with self._guard:
            segment.bytes, segment.next_sequence = size, next_sequence

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes stay within the limit; what is retained does not count."""
        return self.unstored_bytes() + size <= self._bytes_max

    def unstored_bytes(self) -> int:
        """Of segments that hold something that is not stored."""
        with self._guard:
            return sum(s.bytes for s in self._segments if s.stored_s is None)

    def size_bytes(self) -> int:
        with self._guard:
            return sum(segment.bytes for segment in self._segments)

    def paths(self) -> list[Path]:
        """Oldest first."""
        with self._guard:
            return [segment.path for segment in self._segments]

    def stored_before(self, sequence: int, *, written_to: Segment | None) -> None:
        """Everything before `sequence` is stored: delete what need not be retained.

        written_to: the one that stays whatever is in it. Raises OSError.
        """
        now_s = time.monotonic()
        with self._guard:
            for segment in self._segments:
                if segment.stored_s is None and segment.next_sequence <= sequence:
                    segment.stored_s = None if segment is written_to else now_s
            retained = [s for s in self._segments if s.stored_s is not None]
            room = self._bytes_max * RETAINED_SHARE_MAX - sum(s.bytes for s in retained)
            gone = []
            for segment in retained:
                assert segment.stored_s is not None
                if room < 0 or now_s - segment.stored_s >= self._retain_s:
                    room += segment.bytes
                    gone.append(segment)
            self._segments = [s for s in self._segments if s not in gone]
        for segment in gone:
            segment.path.unlink(missing_ok=True)
