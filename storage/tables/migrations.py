"""Migrations: numbered steps that the service applies at its start, or an operator applies.

The existing tables are looked up first, so that a user who may only SELECT and INSERT can run the
service on tables that another user created. Applied steps are recorded in a table. Every step may
run twice, and in two processes at once: each statement says IF NOT EXISTS, and all processes write
the same record. New columns need no step: columns that the event definition has and the table lacks
are added.
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
"""How often pending changes are looked up, because a change may make others pending."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step.

    Attributes:
        version: number of the step.
        name: short description.
        statements: SQL statements that may run again.
        once: SQL statements that follow when the step is first applied.
    """

    version: int
    name: str
    statements: tuple[str, ...]
    once: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """A pending change.

    Attributes:
        name: short description.
        statements: SQL statements that apply the change.
        for_operator: whether only `event-stream migrate` applies the change.
    """

    name: str
    statements: tuple[str, ...]
    for_operator: bool = False


def steps(
    schema: pa.Schema, *, layout: ClusterLayout = ONE_SERVER, sharding: Sharding = ONE_SHARD
) -> tuple[Migration, ...]:
    """Return all steps, oldest first. Never edit a released step: add a new one."""
    events = create_table_ddl(schema, layout=layout, sharding=sharding)
    return (
        Migration(1, "create events", events),
        Migration(2, "hash users", add_user_hash_ddl(layout)),
        Migration(3, "create rollups", rollup_ddl(layout), once=rollup_backfill()),
    )


def pending(
    client: Client, schema: pa.Schema, *, layout: ClusterLayout = ONE_SERVER
) -> list[Change]:
    """Return the changes that the database needs, in order. Apply none of them.

    Args:
        client: connection to the database.
        schema: columns of the events table, in Arrow.
        layout: layout of the tables.

    Raises:
        PausedError: a table is not one of Event Stream, or an operator must correct the cluster.
        StorageError: a query failed.
    """
    with storage_errors():
        found = look(client, layout)
    sharding = found.sharding or Sharding.of(found.slots)
    changes = []
    if found.rekeying:
        statements = rekey_ddl(schema, found.rekeying, migrations_table=MIGRATIONS_TABLE)
        changes.append(Change("the whole identity of an event in the sort key", statements))
        if found.rekeying == "restore":
            return changes  # the other changes depend on the restored table
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
    create_record = (
        f"CREATE TABLE IF NOT EXISTS {MIGRATIONS_TABLE}{layout.on_cluster}"
        " (version UInt32, name String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3))"
        f" ENGINE = {layout.engine('ReplacingMergeTree', shared=True)} ORDER BY version",
    )
    changes = []
    if MIGRATIONS_TABLE in found.missing:
        # When only new servers of the cluster lack the table, the service can start without it.
        on_new = MIGRATIONS_TABLE not in found.missing_here
        changes.append(Change(f"create {MIGRATIONS_TABLE}", create_record, for_operator=on_new))
    for step in steps(schema, layout=layout, sharding=sharding):
        if step.version not in found.applied or found.missing_here or found.rekeying:
            record = (
                f"INSERT INTO {MIGRATIONS_TABLE} (version, name)"
                f" VALUES ({step.version}, '{step.name}')"
            )
            statements = (*step.statements, *step.once, record)
            changes.append(Change(f"{step.version} {step.name}", statements))
        elif found.missing:
            name = f"{step.version} {step.name}, on new servers"
            changes.append(Change(name, step.statements, for_operator=True))
    return changes


def apply(client: Client, changes: Sequence[Change]) -> None:
    """Apply `changes` in order.

    Raises:
        PausedError: the user lacks a right, or an operator must correct something else.
        StorageError: ClickHouse refused a statement or did not respond.
    """
    for change in changes:
        try:
            with storage_errors():
                for statement in change.statements:
                    client.command(statement)
        except PausedError as error:
            if error.code == ACCESS_DENIED:
                raise PausedError(
                    "The tables must be migrated, but the user of clickhouse_url lacks a right:"
                    f" run event-stream migrate as a user who has it ({error})",
                    error.code,
                ) from error
            raise


def apply_pending(
    client: Client, schema: pa.Schema, *, layout: ClusterLayout = ONE_SERVER, as_operator: bool
) -> Iterator[Change]:
    """Apply the pending changes, and yield each change after it is applied.

    Args:
        client: connection to the database.
        schema: columns of the events table, in Arrow.
        layout: layout of the tables.
        as_operator: whether to apply also the changes that the service leaves to an operator.

    Raises:
        PausedError: a table is not one of Event Stream, or the user lacks a right.
        StorageError: ClickHouse refused a statement or did not respond.
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
    """Apply the pending changes that are not left to an operator, as the service does at start.

    Returns:
        The names of the changes that were applied.

    Raises:
        StorageError: see `apply_pending`.
    """
    changes = apply_pending(client, schema, layout=layout, as_operator=False)
    return [change.name for change in changes]
