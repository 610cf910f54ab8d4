"""Rekey events tables of an earlier version, whose sort key lacks a part of the event's identity.

With the earlier sort key, two events with the same name and id in one clock hour collapse to one.
All rows are copied into a new table with the whole identity in its sort key. The new table then
replaces the old one. The rollups are created again, because their sketches count identities.

No row is lost when the process is killed at any moment, or when two processes rekey at once. The
next step is derived from the tables that exist. The old table is dropped last, after its rows were
copied once more into the table that replaced it. Copies of rows collapse.
"""

from typing import Literal

import pyarrow as pa

from storage.tables.rollups import ROLLUPS, VIEWS
from storage.tables.schema import (
    EVENTS_TABLE,
    KEY_TIME_UNKNOWN_US,
    add_user_hash_ddl,
    create_table_ddl,
)

EARLIER_SORT_KEY = "name, toStartOfHour(key_time), id"
NEW, OLD = f"{EVENTS_TABLE}_rekeyed", f"{EVENTS_TABLE}_before_rekey"
"""The new table while rows are copied into it, and the old table after it was replaced."""
Rekeying = Literal["restore", "copy", "rename", "clean up"]
"""The step at which the rekeying continues."""

_UNKNOWN_TIME = "(date IS NULL AND timestamp IS NULL AND key_time != received_at)"
"""Condition for events that have an id and state no time. The earlier version derived their times
from the id, or used a constant."""


def rekey_ddl(schema: pa.Schema, first: Rekeying, *, migrations_table: str) -> tuple[str, ...]:
    """Return the statements of the rekeying. The migration steps must run again after them.

    Args:
        schema: columns of the events table, in Arrow.
        first: the step to begin with.
        migrations_table: name of the table that records the applied steps. It is emptied.
    """
    if first == "restore":  # only the old table exists: rename it back and begin again
        return (f"RENAME TABLE {OLD} TO {EVENTS_TABLE}",)
    statements = [
        f"TRUNCATE TABLE IF EXISTS {migrations_table}",
        *(f"DROP VIEW IF EXISTS {view} SYNC" for view in VIEWS),
        *(f"DROP TABLE IF EXISTS {table} SYNC" for _, table in ROLLUPS),
    ]
    if first == "copy":
        statements += [
            *create_table_ddl(schema, table=NEW),
            *add_user_hash_ddl(table=NEW),
            _copy(schema, EVENTS_TABLE, NEW),
            f"RENAME TABLE {EVENTS_TABLE} TO {OLD}",
        ]
    if first != "clean up":
        statements.append(f"RENAME TABLE {NEW} TO {EVENTS_TABLE}")
    # A running service of the earlier version may have stored rows since the copy.
    return (*statements, _copy(schema, OLD, EVENTS_TABLE), f"DROP TABLE IF EXISTS {OLD} SYNC")


def _copy(schema: pa.Schema, source: str, target: str) -> str:
    unknown = f"fromUnixTimestamp64Micro({KEY_TIME_UNKNOWN_US}, 'UTC')"
    changed = {
        "event_time": f"if({_UNKNOWN_TIME}, received_at, event_time)",
        "key_time": f"if({_UNKNOWN_TIME}, {unknown}, key_time)",
    }
    names = ", ".join(f"`{name}`" for name in schema.names)
    values = ", ".join(changed.get(name, f"`{name}`") for name in schema.names)
    return (
        f"INSERT INTO {target} ({names}) SELECT {values} FROM {source}"
        # The rows may span hundreds of months.
        " SETTINGS throw_on_max_partitions_per_insert_block = 0, optimize_on_insert = 0"
    )
