"""Is what the tables have sound? What the service asks while it runs, and what the doctor asks."""

from collections.abc import Mapping, Sequence
from typing import Any

from clickhouse_connect.driver.client import Client

from storage.clickhouse.client import storage_errors
from storage.errors import NOT_THERE_CODES, StorageError
from storage.tables.cluster import Placement
from storage.tables.expected import DATA_TABLES
from storage.tables.schema import EVENT_KEY, EVENTS_TABLE

KEYS_PER_QUERY = 10_000


def broken_parts_query(placement: Placement) -> tuple[str, Mapping[str, Any]]:
    """For the parts that a server set aside because it could not read them.

    Rows are (host, table, part, reason), of all replicas on a cluster.
    """
    return (
        "SELECT concat(hostName(), ':', toString(tcpPort())), table, name, reason"
        f" FROM {placement.everywhere('system.detached_parts')}"
        " WHERE database = currentDatabase() AND table IN {tables:Array(String)}"
        " AND startsWith(reason, 'broken')",
        {"tables": [placement.local(table) for table in DATA_TABLES]},
    )


def count_events(client: Client) -> tuple[int, int]:
    """(events, different ids). Raises StorageError."""
    with storage_errors():
        [(events, ids)] = client.query(
            f"SELECT count(), uniqExact(id) FROM {EVENTS_TABLE} FINAL"
        ).result_rows
    return int(events), int(ids)


def detached_parts(client: Client, placement: Placement) -> list[str]:
    """What is wrong with them, a line each. Raises StorageError."""
    sql, parameters = broken_parts_query(placement)
    with storage_errors():
        rows = client.query(sql, parameters=dict(parameters)).result_rows
    return [
        f"part {name} of {table} on {host} is detached: {reason}"
        for host, table, name, reason in rows
    ]


def damaged_parts(client: Client, placement: Placement) -> list[str]:
    """What is wrong with the parts in use of the connected server, a line each: reads all of them.

    Raises StorageError.
    """
    damaged: list[str] = []
    for table in DATA_TABLES:
        with storage_errors():
            checks: Sequence[Sequence[Any]] = client.query(
                f"CHECK TABLE {placement.local(table)}",
                settings={"check_query_single_value_result": 0},
            ).result_rows
        # A part is (name, is it sound, message); of an empty table there is one word.
        damaged += [
            f"part {part[0]} of {table} is damaged: {part[2]}"
            for part in checks
            if len(part) == 3 and not int(part[1])
        ]
    return damaged


def unreadable_replicas(client: Client, placement: Placement) -> list[str]:
    """What can't be read on any replica of a cluster, a line for each table: reads everything.

    Raises StorageError when a server does not answer.
    """
    faults = []
    for table in DATA_TABLES:
        copies = (
            f"clusterAllReplicas('{placement.cluster}', currentDatabase(),"
            f" '{placement.local(table)}')"
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
    """How many of `keys` (EVENT_KEY) are of no event in the table. Raises StorageError."""
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
