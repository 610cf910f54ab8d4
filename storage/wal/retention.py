"""The segments of a WAL: their sizes, and when each may be deleted.

A segment is stored when ClickHouse has all its rows. It is then retained for a while, because its
rows can be inserted again if the table loses a part. Retained segments are deleted early when they
take too much room. Thread-safe.
"""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

RETAINED_SHARE_MAX = 0.5
"""Share of `bytes_max` that retained segments may take."""


@dataclass(slots=True)
class Segment:
    """One file of a WAL.

    Attributes:
        path: the file.
        next_sequence: sequence number after the last record in the file.
        bytes: size of the file.
        stored_s: when all its rows were found to be stored, on the monotonic clock. None before.
    """

    path: Path
    next_sequence: int
    bytes: int
    stored_s: float | None = None


class Segments:
    """The list of all segments in a WAL directory, oldest first."""

    def __init__(self, *, bytes_max: int, retain_s: float) -> None:
        """Start with an empty list.

        Args:
            bytes_max: limit for the segments that are not stored.
            retain_s: how long a stored segment is retained, in seconds.
        """
        self._guard = threading.Lock()
        self._segments: list[Segment] = []
        self._bytes_max = bytes_max
        self._retain_s = retain_s

    @property
    def last(self) -> Segment:
        """The newest segment."""
        return self._segments[-1]

    def add(self, segment: Segment) -> None:
        """Add the newest segment. It replaces a segment with the same path."""
        with self._guard:
            self._segments = [s for s in self._segments if s.path != segment.path]
            self._segments.append(segment)

    def grow(self, segment: Segment, *, size: int, next_sequence: int) -> None:
        """Set the size and the next sequence number of `segment` after an append."""
        with self._guard:
            segment.bytes, segment.next_sequence = size, next_sequence

    def has_room(self, size: int) -> bool:
        """Return whether `size` more bytes fit. Retained segments do not count."""
        return self.unstored_bytes() + size <= self._bytes_max

    def unstored_bytes(self) -> int:
        """Return the bytes of all segments that are not stored."""
        with self._guard:
            return sum(s.bytes for s in self._segments if s.stored_s is None)

    def size_bytes(self) -> int:
        """Return the bytes of all segments."""
        with self._guard:
            return sum(segment.bytes for segment in self._segments)

    def paths(self) -> list[Path]:
        """Return the paths of all segments, oldest first."""
        with self._guard:
            return [segment.path for segment in self._segments]

    def stored_before(self, sequence: int, *, written_to: Segment | None) -> None:
        """Mark segments as stored, and delete those that need not be retained.

        Args:
            sequence: all records before this sequence number are stored.
            written_to: the segment that is open for appends. It is never marked or deleted.

        Raises:
            OSError: a file could not be deleted.
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
