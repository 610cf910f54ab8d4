"""The report of `event-stream doctor`: whether the WAL, the dead letters and the table agree.

It changes nothing. With embedded storage the service must be stopped. With a ClickHouse server the
service may run; events that it has not stored yet are then reported as waiting.
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
from storage.wal.inspection import examine_wal, read_records


@dataclass(slots=True)
class Report:
    """Findings of the doctor.

    Attributes:
        facts: lines that describe the state.
        waiting: number of events in the WAL that are not in the table yet.
        faults: lines that describe problems, which an operator should look at.
    """

    facts: list[str] = field(default_factory=list)
    waiting: int = 0
    faults: list[str] = field(default_factory=list)


def examine(
    data_dir: Path, dead_letters: DeadLetters, client: Client, layout: ClusterLayout
) -> Report:
    """Compare the WAL, the dead letters and the table.

    Raises:
        StorageError: the table can't be read because storage does not answer, or because a table or
            a right is missing.
    """
    report = Report()
    _examine_table(report, client, layout)
    for directory in sorted((data_dir / "wal").glob("*/")):
        _examine_wal(report, directory, client)
    letters = list(dead_letters)
    if letters:
        rows = sum(letter.rows for letter in letters)
        report.faults.append(
            f"{rows} rows are dead letters. List them: event-stream dead-letters list"
        )
    if report.waiting:
        report.facts.append(f"{report.waiting} events in the WAL are not in the table yet")
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


def _examine_wal(report: Report, directory: Path, client: Client) -> None:
    name = f"WAL {directory.name}"
    found = examine_wal(directory, RECORD_SCHEMA)
    report.faults += [f"{name}: {fault}" for fault in found.faults]
    if found.quarantined:
        report.faults.append(
            f"{name}: {found.quarantined} damaged parts are in its directory quarantine"
        )
    waiting: list[str] = []
    for batch in read_records(found.unstored, RECORD_SCHEMA):
        waiting += keys_of(conform(batch))
    missing = count_missing(client, waiting)
    report.facts.append(
        f"{name}: {len(waiting)} events after the checkpoint,"
        f" {len(waiting) - missing} of them in the table"
    )
    report.waiting += missing
