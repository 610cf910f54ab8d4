"""`event-stream doctor`: do the logs, the dead letters and the table agree, and is each sound?

Reads only. With embedded storage the service must be stopped; with a server it may run, and then
what it is about to store is reported as waiting.
"""

from dataclasses import dataclass, field
from pathlib import Path

from ingest.event.arrow import RECORD_SCHEMA, conform
from ingest.pipeline.identity import keys_of
from storage.clickhouse.client import Client
from storage.dead_letters import DeadLetters
from storage.errors import NOT_THERE_CODES, StorageError
from storage.tables.cluster import ClusterLayout
from storage.tables.inspection import (
    count_events,
    count_missing,
    damaged_parts,
    detached_parts,
    unreadable_replicas,
)
from storage.wal.checkpoint import QUARANTINE, WalState
from storage.wal.segment import DamagedError, Record, SegmentReader
from storage.wal.wal import SUFFIX


@dataclass(slots=True)
class Report:
    """facts: what there is; waiting: events in the logs that the table does not have yet; faults:
    what someone should look at."""

    facts: list[str] = field(default_factory=list)
    waiting: int = 0
    faults: list[str] = field(default_factory=list)


def examine(
    data_dir: Path, dead_letters: DeadLetters, client: Client, layout: ClusterLayout
) -> Report:
    """Raises StorageError when the table can't be read."""
    report = Report()
    _examine_table(report, client, layout)
    for directory in sorted((data_dir / "wal").glob("*/")):
        _examine_log(report, directory, client)
    letters = list(dead_letters)
    if letters:
        rows = sum(letter.rows for letter in letters)
        report.faults.append(f"{rows} rows are dead letters: see event-stream dead-letters list")
    if report.waiting:
        report.facts.append(f"{report.waiting} events in the logs are not in the table yet")
    return report


def _examine_table(report: Report, client: Client, layout: ClusterLayout) -> None:
    try:
        events, ids = count_events(client)
        report.facts.append(f"{events} events in the table, {ids} different ids")
    except StorageError as error:
        if error.code is None or error.error_class == "paused" or error.code in NOT_THERE_CODES:
            raise
        report.faults.append(f"the table can't be read: {error}")
    report.faults += detached_parts(client, layout)
    report.faults += damaged_parts(client, layout)
    if layout.cluster:
        report.faults += unreadable_replicas(client, layout)


def _examine_log(report: Report, directory: Path, client: Client) -> None:
    stored = WalState(directory).read_checkpoint()
    waiting: list[str] = []
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        try:
            reader = SegmentReader(path, RECORD_SCHEMA)
        except (DamagedError, FileNotFoundError):
            continue  # nothing was written to it yet, or all of it was stored meanwhile
        for part in reader.scan():
            if not isinstance(part, Record):
                kind = "is cut off" if part.torn else "is damaged"
                report.faults.append(
                    f"log {directory.name}: {path.name} {kind} at byte {part.offset}"
                )
            elif part.sequence >= stored:
                waiting += keys_of(conform(reader.read(part)))
    quarantined = len(list((directory / QUARANTINE).glob("*")))
    if quarantined:
        report.faults.append(f"log {directory.name}: {quarantined} damaged parts were set aside")
    missing = count_missing(client, waiting)
    report.facts.append(
        f"log {directory.name}: {len(waiting)} events after the checkpoint,"
        f" {len(waiting) - missing} of them in the table"
    )
    report.waiting += missing
