"""Tables of an earlier version, whose sort key was less than the identity of an event.

Two events with one id in one clock hour were collapsed by it. All rows are copied into a table with
the whole identity in its key, which then takes the place of the old one; the rollups, whose
sketches are of the identity, are made anew. A kill at any moment loses nothing, nor do two that do
it at once: the old table is dropped last, after its rows were copied once more into the one that is
in its place, and what is left to do is told from the tables that there are. Copies of rows
collapse.
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
"""The copy while it is made, and the table that it has replaced."""
Rekeying = Literal["restore", "copy", "rename", "clean up"]
"""What is to be done next; all that comes after it follows."""

_UNKNOWN_TIME = "(date IS NULL AND timestamp IS NULL AND key_time != received_at)"
"""An event with an id and no time of its own: its times were read out of the id, or a constant."""


def rekey_ddl(schema: pa.Schema, first: Rekeying, *, migrations_table: str) -> tuple[str, ...]:
    """The statements from `first` on. The steps that make the rollups must be run again."""
    if first == "restore":  # another process has moved the table, and what was to follow is gone
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
    # What an earlier service has stored since the copy.
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
        # A table may have hundreds of months.
        " SETTINGS throw_on_max_partitions_per_insert_block = 0, optimize_on_insert = 0"
    )
