"""A look at the directory of a WAL from outside, as `event-stream doctor` takes it. Reads only."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from storage.wal.checkpoint import QUARANTINE, WalState
from storage.wal.segment import DamagedError, Record, SegmentReader
from storage.wal.wal import SUFFIX, Location


@dataclass(slots=True)
class WalReport:
    """What the directory of a WAL holds.

    Attributes:
        unstored: records after the checkpoint, in order.
        faults: damaged parts of segments, one line each.
        quarantined: damaged parts that were set aside earlier.
    """

    unstored: list[Location] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    quarantined: int = 0


def examine_wal(directory: Path, schema: pa.Schema) -> WalReport:
    """Scan every segment in `directory`, which a running service may use at the same time."""
    report = WalReport(quarantined=len(list((directory / QUARANTINE).glob("*"))))
    stored = WalState(directory).read_checkpoint()
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        try:
            reader = SegmentReader(path, schema)
        except (DamagedError, FileNotFoundError):
            continue  # nothing was written to it yet, or all of it was stored meanwhile
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
        DamagedError: a record is not what was written.
        OSError: a segment can't be read, or is gone.
    """
    reader: SegmentReader | None = None
    for location in locations:
        if reader is None or reader.path != location.path:
            reader = SegmentReader(location.path, schema)
        yield reader.read(location.record)
