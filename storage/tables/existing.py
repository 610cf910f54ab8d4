"""Find the tables of Event Stream that exist, on the connected server and on its cluster."""

from collections.abc import Mapping
from dataclasses import dataclass

from storage.clickhouse.client import Client
from storage.errors import PausedError
from storage.tables.cluster import ClusterLayout
from storage.tables.expected import MIGRATIONS_TABLE, expected_tables
from storage.tables.rekey import EARLIER_SORT_KEY, NEW, OLD, Rekeying
from storage.tables.schema import EVENTS_TABLE
from storage.tables.sharding import Sharding


@dataclass(frozen=True, slots=True)
class Found:
    """The state of the tables.

    Attributes:
        missing: tables that at least one server lacks.
        missing_here: tables that the connected server lacks.
        applied: versions of the migration steps that were applied.
        columns: columns of the events table. Empty when there is no events table.
        rekeying: next step of the rekeying, or None when there is nothing to rekey.
        sharding: sharding of the events table, or None without an events table or cluster.
        slots: sum of the weights of the cluster's shards. 1 without a cluster.
        has_one_key: whether all servers use the same sharding key.
    """

    missing: frozenset[str]
    missing_here: frozenset[str]
    applied: frozenset[int]
    columns: frozenset[str]
    rekeying: Rekeying | None
    sharding: Sharding | None
    slots: int
    has_one_key: bool = True


@dataclass(frozen=True, slots=True)
class _Table:
    engine: str
    sorting_key: str


def look(client: Client, layout: ClusterLayout) -> Found:
    """Find the existing tables.

    The exceptions of the driver are not converted.

    Raises:
        PausedError: a table is not one of Event Stream, the cluster is unknown, its servers
            disagree on the sharding, or shards were removed.
    """
    expected = expected_tables(layout)
    [(database,)] = client.query("SELECT currentDatabase()").result_rows
    names = {"database": database, "tables": [*expected, NEW, OLD]}
    rows = client.query(
        "SELECT name, engine, sorting_key FROM system.tables"
        " WHERE database = {database:String} AND name IN {tables:Array(String)}",
        parameters=names,
    ).result_rows
    tables = {name: _Table(*columns) for name, *columns in rows}
    _check_ours(tables, database, layout)
    missing_here = frozenset(expected) - frozenset(tables)
    applied: frozenset[int] = frozenset()
    if MIGRATIONS_TABLE in tables:
        rows = client.query(f"SELECT version FROM {MIGRATIONS_TABLE} FINAL").result_rows
        applied = frozenset(version for (version,) in rows)
    rows = client.query(
        "SELECT name FROM system.columns"
        " WHERE database = {database:String} AND table = {table:String}",
        parameters={"database": database, "table": EVENTS_TABLE},
    ).result_rows
    columns = frozenset(name for (name,) in rows)
    if not layout.cluster:
        rekeying = _rekeying(tables)
        return Found(missing_here, missing_here, applied, columns, rekeying, None, 1)
    slots = _slots(client, layout)
    shardings = _shardings(client, layout, names)
    # A server that was down when a shard was added has fewer eras. A new server has no table.
    sharding = max(shardings, key=lambda sharding: len(sharding.eras), default=None)
    if sharding is not None:
        if any(sharding.eras[: len(other.eras)] != other.eras for other in shardings):
            raise PausedError(
                f"The servers of cluster {layout.cluster} do not agree on which shard an event"
                f" is stored: compare the comments of their tables {EVENTS_TABLE}"
            )
        if slots < sharding.slots:
            raise PausedError(
                f"Cluster {layout.cluster} has shards of weight {slots}, and had"
                f" {sharding.slots}: put them back, because they hold events"
            )
    missing = missing_here | _missing_elsewhere(client, layout, names)
    has_one_key = len(set(shardings)) <= 1
    return Found(missing, missing_here, applied, columns, None, sharding, slots, has_one_key)


def _shardings(
    client: Client, layout: ClusterLayout, names: Mapping[str, object]
) -> list[Sharding]:
    """Return the sharding of each server that responds and has the events table."""
    rows = client.query(
        f"SELECT comment FROM {layout.everywhere('system.tables')}"
        " WHERE database = {database:String} AND name = {table:String}",
        parameters={"database": names["database"], "table": EVENTS_TABLE},
        settings={"skip_unavailable_shards": 1},
    ).result_rows
    try:
        return [Sharding.parse(comment) for (comment,) in rows]
    except ValueError as error:
        raise PausedError(
            f"A table {EVENTS_TABLE} on a server of cluster {layout.cluster} is not one of"
            " Event Stream, and was left alone: name another database in clickhouse_url"
        ) from error


def _rekeying(tables: Mapping[str, _Table]) -> Rekeying | None:
    events = tables.get(EVENTS_TABLE)
    if events is not None and events.sorting_key == EARLIER_SORT_KEY:
        return "copy"
    if OLD not in tables:
        return None
    if events is None:
        return "rename" if NEW in tables else "restore"
    return "clean up"


def _check_ours(tables: Mapping[str, _Table], database: str, layout: ClusterLayout) -> None:
    for name, shape in expected_tables(layout).items():
        table = tables.get(name)
        if table is None:
            continue
        ours = table.engine.endswith(shape.engine)
        if shape.sorting_key is not None:
            keys = [shape.sorting_key]
            if name == EVENTS_TABLE and not layout.cluster:
                keys.append(EARLIER_SORT_KEY)
            ours = ours and table.sorting_key in keys
        if not ours:
            sort = f", sorted by {table.sorting_key}" if table.sorting_key else ""
            raise PausedError(
                f"Table {name} of database {database} is not one of Event Stream"
                f" {'on a cluster' if layout.cluster else 'on one server'}"
                f" ({table.engine}{sort}), and was left alone: name another database in"
                " clickhouse_url"
            )


def _slots(client: Client, layout: ClusterLayout) -> int:
    [(slots,)] = client.query(
        "SELECT sum(shard_weight) FROM system.clusters"
        " WHERE cluster = {cluster:String} AND replica_num = 1",
        parameters={"cluster": layout.cluster},
    ).result_rows
    if not slots:
        raise PausedError(
            f"ClickHouse knows no cluster {layout.cluster}: correct clickhouse_cluster, or"
            " remote_servers in the configuration of the servers"
        )
    return int(slots)


def _missing_elsewhere(
    client: Client, layout: ClusterLayout, names: Mapping[str, object]
) -> frozenset[str]:
    # Only servers that respond count, because one that is down must not block the others.
    rows = client.query(
        f"SELECT database, name, count() FROM {layout.everywhere('system.tables')}"
        " WHERE database = {database:String} AND name IN {tables:Array(String)}"
        " OR database = 'system' AND name = 'one' GROUP BY database, name",
        parameters=dict(names),
        settings={"skip_unavailable_shards": 1},
    ).result_rows
    copies = {(database, name): count for database, name, count in rows}
    answering = copies.get(("system", "one"), 0)
    return frozenset(
        name
        for name in expected_tables(layout)
        if copies.get((names["database"], name), 0) < answering
    )
