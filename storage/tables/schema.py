"""The events table, derived from an Arrow schema: one column for each field, in the same order.

The type of a column follows from the Arrow type, and from the field metadata `low_cardinality` and
`nullable`. The fields themselves are defined elsewhere.
"""

import pyarrow as pa

from storage.tables.cluster import ClusterLayout
from storage.tables.sharding import Sharding

EVENTS_TABLE = "events"
ONE_SERVER = ClusterLayout()
ONE_SHARD = Sharding.of(1)
DEDUPLICATION_INSERTS = 1_000
"""Insert tokens that the table remembers: far more than a flusher has unconfirmed inserts."""

PRIMARY_KEY = "name, toStartOfHour(key_time), id"
SORT_KEY = f"{PRIMARY_KEY}, key_time"
"""The identity of an event: name, id and key time. Rows with the same identity are one event. The
order of the key suits the queries."""

KEY_TIME_UNKNOWN_US = -1
"""The key time of an event that has an id and states no time. No event has it as its own time."""

MONTHS_FROM, MONTHS_UNTIL = 2010, 2040
"""Years in which a partition is a month. Other partitions are decades, because events of all
possible centuries would otherwise make thousands of parts."""

EVENT_KEY = r"concat(id, '\0', name, '\0', toString(toUnixTimestamp64Micro(key_time)))"
"""The identity of an event as text, in the format of the dedup window."""

USER = "if(user_id != '', user_id, user_pseudo_id)"
"""The user of an event: the signed-in user, otherwise the device."""

_SCALARS = {
    pa.string(): "String",
    pa.int64(): "Int64",
    pa.float64(): "Float64",
    pa.bool_(): "Bool",
    pa.timestamp("us", "UTC"): "DateTime64(6, 'UTC')",
}


def decade(column: str) -> str:
    """Return the SQL expression for the first year of the decade of a time."""
    return f"toUInt32(intDiv(toYear({column}), 10) * 10)"


_PARTITION = (
    f"if(toYear(key_time) >= {MONTHS_FROM} AND toYear(key_time) < {MONTHS_UNTIL},"
    f" toYYYYMM(key_time), {decade('key_time')})"
)
_CODECS = {"DateTime64(6, 'UTC')": " CODEC(Delta, ZSTD(1))"}


def column_type(field: pa.Field) -> str:
    """Return the ClickHouse type of an Arrow field.

    Raises:
        KeyError: no event field has this Arrow type.
    """
    lists, kind = 0, field.type
    while pa.types.is_list(kind):
        lists, kind = lists + 1, kind.value_type
    name = _SCALARS[kind]
    metadata = field.metadata or {}
    if b"nullable" in metadata:
        name = f"Nullable({name})"
    if b"low_cardinality" in metadata:
        name = f"LowCardinality({name})"
    return "Array(" * lists + name + ")" * lists


def columns_ddl(schema: pa.Schema) -> list[tuple[str, str]]:
    """Return (name, type with codec) of every column, in order."""
    types = [(field.name, column_type(field)) for field in schema]
    return [(name, kind + _CODECS.get(kind, "")) for name, kind in types]


def create_table_ddl(
    schema: pa.Schema,
    *,
    layout: ClusterLayout = ONE_SERVER,
    sharding: Sharding = ONE_SHARD,
    table: str = EVENTS_TABLE,
) -> tuple[str, ...]:
    """Return the statements that create the events table, or a table like it.

    Rows with the same sort key collapse to the row that was received first, because it has the
    largest version. They are always in one partition, because the partition follows from the key.

    Args:
        schema: columns of the table. It must have the fields name, id, event_time, key_time and
            received_at.
        layout: layout of the tables.
        sharding: eras of the Distributed table. Not used on one server.
        table: name of the table.
    """
    columns = ",\n    ".join(f"`{name}` {kind}" for name, kind in columns_ddl(schema))
    settings = {
        f"{'' if layout.cluster else 'non_'}replicated_deduplication_window": (
            DEDUPLICATION_INSERTS
        ),
        # Old partitions are merged to one part, so that FINAL costs nothing there.
        "min_age_to_force_merge_seconds": 3600,
        "min_age_to_force_merge_on_partition_only": 1,
        # PERF: a flush writes one file instead of about 150, which makes it a third faster.
        "min_bytes_for_wide_part": 256 * 1024 * 1024,
        # The WAL deletes rows that ClickHouse has confirmed, so they must be on disk.
        "fsync_after_insert": 1,
        "fsync_part_directory": 1,
    }
    local = layout.local(table)
    create = (
        f"CREATE TABLE IF NOT EXISTS {local}{layout.on_cluster}\n(\n    {columns},\n"
        "    `version` UInt64 MATERIALIZED"
        " toUInt64(9223372036854775807 - toUnixTimestamp64Micro(received_at))"
        " CODEC(Delta, ZSTD(1)),\n"
        "    INDEX event_time_range event_time TYPE minmax,\n"
        "    INDEX received_at_range received_at TYPE minmax\n)\n"
        f"ENGINE = {layout.engine('ReplacingMergeTree', 'version')}\n"
        f"PARTITION BY {_PARTITION}\n"
        f"PRIMARY KEY ({PRIMARY_KEY})\nORDER BY ({SORT_KEY})\n"
        "SETTINGS " + ", ".join(f"{key} = {value}" for key, value in settings.items())
    )
    if not layout.cluster:
        return (create,)
    # All copies of an event go to the same shard, because FINAL collapses only within a shard.
    return (create, layout.sharded_ddl(table, sharding))


def add_column_ddl(
    name: str, kind: str, layout: ClusterLayout = ONE_SERVER, *, table: str = EVENTS_TABLE
) -> tuple[str, ...]:
    """Return the statements that add a column of a later version of the event.

    Args:
        name: name of the column.
        kind: ClickHouse type of the column, with codec or expression.
        layout: layout of the tables.
        table: name of the table.
    """
    return tuple(
        f"ALTER TABLE {each}{layout.on_cluster} ADD COLUMN IF NOT EXISTS `{name}` {kind}"
        for each in layout.tables(table)
    )


def add_user_hash_ddl(
    layout: ClusterLayout = ONE_SERVER, *, table: str = EVENTS_TABLE
) -> tuple[str, ...]:
    """Return the statements that add the hash of an event's user; it is 0 without a user.

    PERF: counting unique users by the hash takes half the time of counting them by the text.
    uniqExact also hashes a text to 128 bits. Different users are never counted as one.
    """
    hashed = f"if({USER} = '', 0, reinterpretAsUInt128(sipHash128({USER})))"
    return add_column_ddl("user_hash", f"UInt128 MATERIALIZED {hashed}", layout, table=table)
