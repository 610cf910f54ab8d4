"""Queries that check the tables, for the service and for `event-stream doctor`."""

from collections.abc import Mapping, Sequence
from typing import Any

from storage.clickhouse.client import Client, storage_errors
from storage.clickhouse.reader import Reader
from storage.errors import NOT_THERE_CODES, StorageError
from storage.tables.cluster import ClusterLayout
from storage.tables.expected import DATA_TABLES
from storage.tables.schema import EVENT_KEY, EVENTS_TABLE

KEYS_PER_QUERY = 10_000


def broken_parts_query(layout: ClusterLayout) -> tuple[str, Mapping[str, Any]]:
    """Return the query for broken parts: a server detaches a part that it can't read.

    Args:
        layout: layout of the tables. On a cluster all replicas are queried.

    Returns:
        (SQL, parameters). Rows of the query result are (host, table, part, reason).
    """
    return (
        "SELECT concat(hostName(), ':', toString(tcpPort())), table, name, reason"
        f" FROM {layout.everywhere('system.detached_parts')}"
        " WHERE database = currentDatabase() AND table IN {tables:Array(String)}"
        " AND startsWith(reason, 'broken')",
        {"tables": [layout.local(table) for table in DATA_TABLES]},
    )


async def recent_keys(reader: Reader, *, seconds: int, limit: int) -> list[str]:
    """Return the EVENT_KEY of recent events, oldest first.

    Args:
        reader: runs the query.
        seconds: only events received in the last `seconds` are returned.
        limit: only the last `limit` events are returned.

    Raises:
        StorageError: the query failed.
    """
    recent = f"FROM {EVENTS_TABLE} WHERE received_at >= now() - {{seconds:UInt32}}"
    last = "ORDER BY received_at DESC LIMIT {limit:UInt64}"
    rows = await reader.query(
        # PERF: find the first time with a sort of times only. A sort with ids takes 200 MB more.
        f"WITH (SELECT min(received_at) FROM (SELECT received_at {recent} {last})) AS first"
        f" SELECT {EVENT_KEY} {recent} AND received_at >= first {last}",
        {"seconds": seconds, "limit": limit},
        max_result_rows=0,
        max_rows_to_read=0,
    )
    return [key for (key,) in reversed(rows)]


def count_events(client: Client) -> tuple[int, int]:
    """Return (count of events, count of different ids).

    Raises:
        StorageError: the query failed.
    """
    with storage_errors():
        [(events, ids)] = client.query(
            f"SELECT count(), uniqExact(id) FROM {EVENTS_TABLE} FINAL"
        ).result_rows
    return int(events), int(ids)


def detached_parts(client: Client, layout: ClusterLayout) -> list[str]:
    """Return one line for each broken part that a server detached.

    Raises:
        StorageError: the query failed.
    """
    sql, parameters = broken_parts_query(layout)
    with storage_errors():
        rows = client.query(sql, parameters=dict(parameters)).result_rows
    return [
        f"part {name} of {table} on {host} is detached: {reason}"
        for host, table, name, reason in rows
    ]


def damaged_parts(client: Client, layout: ClusterLayout) -> list[str]:
    """Read all active parts of the connected server, and return one line for each damaged part.

    Raises:
        StorageError: a query failed.
    """
    damaged: list[str] = []
    for table in DATA_TABLES:
        with storage_errors():
            checks: Sequence[Sequence[Any]] = client.query(
                f"CHECK TABLE {layout.local(table)}",
                settings={"check_query_single_value_result": 0},
            ).result_rows
        # A row is (part, whether it is intact, message). An empty table gives one single value.
        damaged += [
            f"part {part[0]} of {table} is damaged: {part[2]}"
            for part in checks
            if len(part) == 3 and not int(part[1])
        ]
    return damaged


def unreadable_replicas(client: Client, layout: ClusterLayout) -> list[str]:
    """Read all rows on all replicas of a cluster, and return one line for each unreadable table.

    Raises:
        StorageError: a server does not respond.
    """
    faults = []
    for table in DATA_TABLES:
        copies = (
            f"clusterAllReplicas('{layout.cluster}', currentDatabase(), '{layout.local(table)}')"
        )
        try:
            with storage_errors():
                client.query(f"SELECT count() FROM {copies} WHERE NOT ignore(*)")
        except StorageError as error:
            if error.code in (None, *NOT_THERE_CODES):
                raise
            faults.append(f"a part of {table} can't be read: {error}")
    return faults


def count_missing(client: Client, keys: Sequence[str]) -> int:
    """Count the keys (EVENT_KEY) that no event in the table has.

    Raises:
        StorageError: a query failed.
    """
    missing = 0
    for first in range(0, len(keys), KEYS_PER_QUERY):
        some = set(keys[first : first + KEYS_PER_QUERY])
        ids = [key.partition("\0")[0] for key in some]
        with storage_errors():
            rows = client.query(
                f"SELECT DISTINCT {EVENT_KEY} FROM {EVENTS_TABLE}"
                " WHERE id IN {ids:Array(String)}",
                parameters={"ids": ids},
            ).result_rows
        missing += len(some - {key for (key,) in rows})
    return missing
