"""Storage behind one interface: the embedded engine, and a server that speaks HTTP.

An engine that can't be a server is tested as embedded only.
"""

from collections.abc import Callable, Iterator
from typing import cast

import pytest
from clickhouse_connect.driver.client import Client

from ingest.event.arrow import TABLE_SCHEMA
from storage.clickhouse.client import connect, embedded_dsn, prepare_embedded
from storage.tables.migrations import migrate
from storage.tables.rollups import ROLLUPS
from storage.tables.schema import EVENTS_TABLE
from tests.clickhouse.engine import CAN_BE_A_SERVER
from tests.clickhouse.server import ClickHouse

KINDS = ["embedded", "server"] if CAN_BE_A_SERVER else ["embedded"]


@pytest.fixture(scope="session", params=KINDS)
def dsn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "server":
        return cast(ClickHouse, request.getfixturevalue("clickhouse")).create_database()
    # The engine takes one directory in the life of a process.
    data_dir = tmp_path_factory.mktemp("storage")
    prepare_embedded(data_dir)
    return embedded_dsn(data_dir)


@pytest.fixture
def connected(dsn: str) -> Iterator[Callable[[], Client]]:
    """Makes clients of a database with an empty events table."""
    made: list[Client] = []

    def open_client() -> Client:
        client = connect(dsn)
        made.append(client)
        migrate(client, TABLE_SCHEMA)
        return client

    client = open_client()
    for table in (EVENTS_TABLE, *(table for _, table in ROLLUPS)):
        client.command(f"TRUNCATE TABLE {table}")
    yield open_client
    for client in made:
        client.close()
