"""Schema versions: numbered steps, recorded in a table, applied at start.

Every step may run twice and in two processes at once: each statement says IF NOT EXISTS, and the
record of a step is the same row whoever writes it. Columns need no step: those that the event
definition has more than the table are added.
"""

from dataclasses import dataclass

import pyarrow as pa
from clickhouse_connect.driver.client import Client

from storage.client import storage_errors
from storage.placement import Placement
from storage.rollups import rollup_ddl
from storage.schema import (
    EVENTS_TABLE,
    ONE_SERVER,
    add_column_ddl,
    add_user_hash_ddl,
    columns_ddl,
    create_table_ddl,
)

MIGRATIONS_TABLE = "schema_migrations"


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    statements: tuple[str, ...]


def steps(
    schema: pa.Schema, *, embedded: bool, placement: Placement = ONE_SERVER
) -> tuple[Migration, ...]:
    """All steps, oldest first. A released step is never edited: add one."""
    events = create_table_ddl(schema, embedded=embedded, placement=placement)
    return (
        Migration(1, "create events", events),
        Migration(2, "hash users", add_user_hash_ddl(placement)),
        Migration(3, "create rollups", rollup_ddl(placement)),
    )


def migrate(
    client: Client, schema: pa.Schema, *, embedded: bool, placement: Placement = ONE_SERVER
) -> list[str]:
    """Bring the database to the newest version; returns what was done, for the log.

    Raises StorageError.
    """
    done: list[str] = []
    with storage_errors():
        client.command(
            f"CREATE TABLE IF NOT EXISTS {MIGRATIONS_TABLE}{placement.on_cluster}"
            " (version UInt32, name String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3))"
            f" ENGINE = {placement.engine('ReplacingMergeTree', shared=True)} ORDER BY version"
        )
        rows = client.query(f"SELECT version FROM {MIGRATIONS_TABLE} FINAL").result_rows
        applied = {version for (version,) in rows}
        for step in steps(schema, embedded=embedded, placement=placement):
            if step.version in applied:
                continue
            for statement in step.statements:
                client.command(statement)
            client.insert(MIGRATIONS_TABLE, [[step.version, step.name]], ["version", "name"])
            done.append(f"{step.version} {step.name}")
        rows = client.query(
            "SELECT name FROM system.columns"
            " WHERE database = currentDatabase() AND table = {table:String}",
            parameters={"table": EVENTS_TABLE},
        ).result_rows
        existing = {name for (name,) in rows}
        for name, kind in columns_ddl(schema):
            if name not in existing:
                for statement in add_column_ddl(name, kind, placement):
                    client.command(statement)
                done.append(f"column {name}")
    return done
