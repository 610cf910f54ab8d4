"""Examine the directory of a WAL for `event-stream doctor`, without changing it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from storage.wal.checkpoint import QUARANTINE, WalState
from storage.wal.segment import DamagedError, Record, SegmentReader
from storage.wal.wal import SUFFIX, Location


@dataclass(slots=True)
class WalReport:
    """The state of a WAL directory.

    Attributes:
        unstored: records that the checkpoint does not cover, in order.
        faults: damaged parts of segments, one line each.
        quarantined: count of damaged parts that a service copied into the quarantine.
    """

    unstored: list[Location] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    quarantined: int = 0


def examine_wal(directory: Path, schema: pa.Schema) -> WalReport:
    """Scan every segment in `directory`. A running service may use it at the same time.

    Raises:
        OSError: a file can't be read.
    """
    report = WalReport(quarantined=len(list((directory / QUARANTINE).glob("*"))))
    stored = WalState(directory).read_checkpoint()
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        try:
            reader = SegmentReader(path, schema)
        except (DamagedError, FileNotFoundError):
            continue  # the segment is still empty, or the service has just deleted it
        for part in reader.scan():
            if not isinstance(part, Record):
                kind = "is cut off" if part.torn else "is damaged"
                report.faults.append(f"{path.name} {kind} at byte {part.offset}")
            elif part.sequence >= stored:
                report.unstored.append(Location(path, part))
    return report


def read_records(locations: list[Location], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Read the records at `locations`.

    Raises:
        DamagedError: a record is damaged.
        OSError: a segment can't be read, or was deleted.
    """
    reader: SegmentReader | None = None
    for location in locations:
        if reader is None or reader.path != location.path:
            reader = SegmentReader(location.path, schema)
        yield reader.read(location.record)
