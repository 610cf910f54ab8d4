"""Schema versions: numbered steps, recorded in a table, applied at start or by an operator.

What there is is looked at first, so that a user who may only SELECT and INSERT can run the service
on tables that somebody else has made. Every step may run twice and in two processes at once: each
statement says IF NOT EXISTS, and the record of a step is the same row whoever writes it. Columns
need no step: those that the event definition has more than the table are added.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from storage.clickhouse.client import Client, storage_errors
from storage.errors import ACCESS_DENIED, PausedError
from storage.tables.cluster import ClusterLayout
from storage.tables.existing import Found, look
from storage.tables.expected import MIGRATIONS_TABLE
from storage.tables.rekey import rekey_ddl
from storage.tables.rollups import rollup_backfill, rollup_ddl
from storage.tables.schema import (
    EVENTS_TABLE,
    ONE_SERVER,
    ONE_SHARD,
    add_column_ddl,
    add_user_hash_ddl,
    columns_ddl,
    create_table_ddl,
)
from storage.tables.sharding import Sharding

ROUNDS_MAX = 3
"""What is to be done is told from the tables that there are, and some of it changes those."""


@dataclass(frozen=True, slots=True)
class Migration:
    """statements: each may be run again; once: what is done with them the first time."""

    version: int
    name: str
    statements: tuple[str, ...]
    once: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done. for_operator: only `event-stream migrate` does it."""

    name: str
    statements: tuple[str, ...]
    for_operator: bool = False


def steps(
    schema: pa.Schema, *, layout: ClusterLayout = ONE_SERVER, sharding: Sharding = ONE_SHARD
) -> tuple[Migration, ...]:
    """All steps, oldest first. A released step is never edited: add one."""
    events = create_table_ddl(schema, layout=layout, sharding=sharding)
    return (
        Migration(1, "create events", events),
        Migration(2, "hash users", add_user_hash_ddl(layout)),
        Migration(3, "create rollups", rollup_ddl(layout), once=rollup_backfill()),
    )


def pending(
    client: Client, schema: pa.Schema, *, layout: ClusterLayout = ONE_SERVER
) -> list[Change]:
    """What the database lacks, in the order in which it is to be done. Changes nothing.

    Raises PausedError when a table is not ours, StorageError.
    """
    with storage_errors():
        found = look(client, layout)
    sharding = found.sharding or Sharding.of(found.slots)
    changes = []
    if found.rekeying:
        statements = rekey_ddl(schema, found.rekeying, migrations_table=MIGRATIONS_TABLE)
        changes.append(Change("the whole identity of an event in the sort key", statements))
        if found.rekeying == "restore":
            return changes  # what follows is told from what is restored
    changes += _missing_steps(found, schema, layout, sharding)
    if found.columns:
        changes += [
            Change(f"column {name}", add_column_ddl(name, kind, layout))
            for name, kind in columns_ddl(schema)
            if name not in found.columns
        ]
    if not found.has_one_key:
        key = layout.sharded_ddl(EVENTS_TABLE, sharding, replace=True)
        changes.append(Change("the same shards for an event on all servers", (key,)))
    if found.slots > sharding.slots:
        more = sharding.extended(found.slots, datetime.now(UTC).date())
        changes.append(
            Change(
                f"{found.slots - sharding.slots} more shards for events from"
                f" {more.eras[-1].first_day}",
                (layout.sharded_ddl(EVENTS_TABLE, more, replace=True),),
                for_operator=True,
            )
        )
    return changes


def _missing_steps(
    found: Found, schema: pa.Schema, layout: ClusterLayout, sharding: Sharding
) -> list[Change]:
    ledger = (
        f"CREATE TABLE IF NOT EXISTS {MIGRATIONS_TABLE}{layout.on_cluster}"
        " (version UInt32, name String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3))"
        f" ENGINE = {layout.engine('ReplacingMergeTree', shared=True)} ORDER BY version",
    )
    changes = []
    if MIGRATIONS_TABLE in found.missing:
        # Servers that came to the cluster later must not keep the others from working.
        on_new = MIGRATIONS_TABLE not in found.missing_here
        changes.append(Change(f"create {MIGRATIONS_TABLE}", ledger, for_operator=on_new))
    for step in steps(schema, layout=layout, sharding=sharding):
        if step.version not in found.applied or found.missing_here or found.rekeying:
            done = (
                f"INSERT INTO {MIGRATIONS_TABLE} (version, name)"
                f" VALUES ({step.version}, '{step.name}')"
            )
            statements = (*step.statements, *step.once, done)
            changes.append(Change(f"{step.version} {step.name}", statements))
        elif found.missing:
            name = f"{step.version} {step.name}, on new servers"
            changes.append(Change(name, step.statements, for_operator=True))
    return changes


def apply(client: Client, changes: Sequence[Change]) -> None:
    """Raises PausedError when the user may not, StorageError."""
    for change in changes:
        try:
            with storage_errors():
                for statement in change.statements:
                    client.command(statement)
        except PausedError as error:
            if error.code == ACCESS_DENIED:
                raise PausedError(
                    "The tables must be migrated, and the user of clickhouse_url lacks a right for"
                    f" it: run event-stream migrate as one who has it ({error})",
                    error.code,
                ) from error
            raise


def apply_pending(
    client: Client, schema: pa.Schema, *, layout: ClusterLayout = ONE_SERVER, as_operator: bool
) -> Iterator[Change]:
    """Apply what the database lacks, and yield every change once it is done.

    Args:
        client: connection to the database.
        schema: columns of the events table, in Arrow.
        layout: where the tables are.
        as_operator: whether to apply the changes that the service leaves to an operator, too.

    Raises:
        PausedError: a table is not ours, or the user lacks a right.
        StorageError: ClickHouse refused a statement or did not answer.
    """
    for _ in range(ROUNDS_MAX):
        changes = pending(client, schema, layout=layout)
        changes = [change for change in changes if as_operator or not change.for_operator]
        if not changes:
            return
        for change in changes:
            apply(client, [change])
            yield change


def migrate(client: Client, schema: pa.Schema, *, layout: ClusterLayout = ONE_SERVER) -> list[str]:
    """Bring the database to the newest version, as the service does at its start.

    Returns:
        The names of the changes that were applied.

    Raises:
        StorageError: see `apply_pending`.
    """
    changes = apply_pending(client, schema, layout=layout, as_operator=False)
    return [change.name for change in changes]
