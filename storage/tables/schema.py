"""The events table, derived from an Arrow schema: one column for each field, in its order.

Field metadata `low_cardinality` and `nullable` choose the column's type; everything else follows
from the Arrow type. Which fields there are is not decided here.
"""

import pyarrow as pa

from storage.tables.cluster import ClusterLayout
from storage.tables.sharding import Sharding

EVENTS_TABLE = "events"
ONE_SERVER = ClusterLayout()
ONE_SHARD = Sharding.of(1)
DEDUPLICATION_INSERTS = 1_000
"""Insert tokens that the table remembers: far more than one flusher ever has in doubt."""

PRIMARY_KEY = "name, toStartOfHour(key_time), id"
SORT_KEY = f"{PRIMARY_KEY}, key_time"
"""An event's identity, name, id and own time, in the order that questions read: rows that agree in
it are one event."""

KEY_TIME_UNKNOWN_US = -1
"""The key time of an event that has an id and states no time: no event has it for its own."""

MONTHS_FROM, MONTHS_UNTIL = 2010, 2040
"""The years in which a partition is a month. Before and after them it is a decade, so that events
of all the centuries that there may be do not make thousands of parts."""

EVENT_KEY = r"concat(id, '\0', name, '\0', toString(toUnixTimestamp64Micro(key_time)))"
"""An event's identity as a text, as the dedup window has it."""

USER = "if(user_id != '', user_id, user_pseudo_id)"
"""Who an event is of: the one who signed in, or the device."""

_SCALARS = {
    pa.string(): "String",
    pa.int64(): "Int64",
    pa.float64(): "Float64",
    pa.bool_(): "Bool",
    pa.timestamp("us", "UTC"): "DateTime64(6, 'UTC')",
}


def decade(column: str) -> str:
    """The first year of the decade that a time lies in, as an SQL expression."""
    return f"toUInt32(intDiv(toYear({column}), 10) * 10)"


_PARTITION = (
    f"if(toYear(key_time) >= {MONTHS_FROM} AND toYear(key_time) < {MONTHS_UNTIL},"
    f" toYYYYMM(key_time), {decade('key_time')})"
)
_CODECS = {"DateTime64(6, 'UTC')": " CODEC(Delta, ZSTD(1))"}


def column_type(field: pa.Field) -> str:
    """The ClickHouse type of an Arrow field. Raises KeyError for a type no event field has."""
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
    """(name, type with codec) of every column, in order."""
    types = [(field.name, column_type(field)) for field in schema]
    return [(name, kind + _CODECS.get(kind, "")) for name, kind in types]


def create_table_ddl(
    schema: pa.Schema,
    *,
    layout: ClusterLayout = ONE_SERVER,
    sharding: Sharding = ONE_SHARD,
    table: str = EVENTS_TABLE,
) -> tuple[str, ...]:
    """CREATE TABLE for the events table, or for one like it.

    `schema` must have name, id, event_time, key_time and received_at. Only rows that agree in the
    whole sort key are ever collapsed to one, of which the earliest received wins (its version is
    the largest). They are in one partition then, for that follows from the key.
    """
    columns = ",\n    ".join(f"`{name}` {kind}" for name, kind in columns_ddl(schema))
    settings = {
        f"{'' if layout.cluster else 'non_'}replicated_deduplication_window": (
            DEDUPLICATION_INSERTS
        ),
        # Old partitions end up as one part, so that FINAL costs nothing there.
        "min_age_to_force_merge_seconds": 3600,
        "min_age_to_force_merge_on_partition_only": 1,
        # PERF: a flush becomes one file instead of some 150: a third less time to insert it.
        "min_bytes_for_wide_part": 256 * 1024 * 1024,
        # The log forgets what storage has confirmed: that must be on disk.
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
    # Copies of an event meet on one shard, where FINAL sees them both.
    return (create, layout.sharded_ddl(table, sharding))


def add_column_ddl(
    name: str, kind: str, layout: ClusterLayout = ONE_SERVER, *, table: str = EVENTS_TABLE
) -> tuple[str, ...]:
    """ALTER TABLE for a column that a later version of the event has more."""
    return tuple(
        f"ALTER TABLE {each}{layout.on_cluster} ADD COLUMN IF NOT EXISTS `{name}` {kind}"
        for each in layout.tables(table)
    )


def add_user_hash_ddl(
    layout: ClusterLayout = ONE_SERVER, *, table: str = EVENTS_TABLE
) -> tuple[str, ...]:
    """ALTER TABLE for who an event is of, as a number: 0 for nobody.

    PERF: unique users take half the time that they take over texts. 128 bits, as uniqExact itself
    makes of a text: no two users are ever taken for one.
    """
    hashed = f"if({USER} = '', 0, reinterpretAsUInt128(sipHash128({USER})))"
    return add_column_ddl("user_hash", f"UInt128 MATERIALIZED {hashed}", layout, table=table)
