"""A table with an earlier version's sort key is copied into one with the whole identity.

Wherever that is cut short, the next start does the rest, and no event is lost or doubled.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from bench.harness.service import running_service
from ingest.event.arrow import TABLE_SCHEMA
from storage.clickhouse.client import connect
from storage.clickhouse.writer import Writer
from storage.tables.expected import DATA_TABLES, MIGRATIONS_TABLE
from storage.tables.migrations import migrate, pending
from storage.tables.rekey import EARLIER_SORT_KEY, NEW, OLD
from storage.tables.rollups import VIEWS
from storage.tables.schema import EVENTS_TABLE, SORT_KEY, add_user_hash_ddl, create_table_ddl
from tests.clickhouse.server import ClickHouse
from tests.contract.test_storage import RECEIVED_US, event, table
from tests.end_to_end.api import count, post

COUNT = f"SELECT count() FROM {EVENTS_TABLE} FINAL"
APPROXIMATE = "SELECT toUInt64(uniqCombined64Merge(13)(events)) FROM events_daily"
# name, id, event time, key time and receive time as an earlier version stored them, in s
UUID7_OF_2023_S = 1_683_000_000
OLD_ROWS = [
    # The same id twice in a clock hour: two events, which only a merge would have made one.
    ("e", "order", 1_705_312_800, 1_705_312_800, 10, True),
    ("e", "order", 1_705_312_860, 1_705_312_860, 20, True),
    ("e", "order", 1_705_312_800, 1_705_312_800, 30, True),  # a copy of the first
    ("other", "order", 1_705_312_800, 1_705_312_800, 40, True),
    # No time of its own: the key had a constant, or the time in a UUIDv7.
    ("e", "timeless", 50, 0, 50, False),
    ("e", "timeless", 60, 0, 60, False),
    ("e", "0187dd0c-3980-7abc-8abc-000000000000", UUID7_OF_2023_S, UUID7_OF_2023_S, 70, False),
    # Neither id nor time: keyed by its arrival.
    ("e", "random", 80, 80, 80, False),
]
EVENTS = 6


@pytest.fixture
def earlier(dsn: str) -> Iterator[Callable[[], Client]]:
    """Makes clients of a database as an earlier version has left it."""
    client = connect(dsn)
    for name in (*VIEWS, *DATA_TABLES, NEW, OLD, MIGRATIONS_TABLE):
        client.command(f"DROP TABLE IF EXISTS {name} SYNC")
    make_earlier_tables(client)
    yield lambda: connect(dsn)
    for name in (*VIEWS, *DATA_TABLES, NEW, OLD, MIGRATIONS_TABLE):
        client.command(f"DROP TABLE IF EXISTS {name} SYNC")


def make_earlier_tables(client: Client) -> None:
    """Of an empty database."""
    migrate(client, TABLE_SCHEMA)
    client.command(f"DROP TABLE {EVENTS_TABLE} SYNC")
    [ddl] = create_table_ddl(TABLE_SCHEMA)
    primary, _, rest = ddl.partition("PRIMARY KEY")
    _, _, settings = rest.partition("SETTINGS")
    client.command(f"{primary}ORDER BY ({EARLIER_SORT_KEY})\nSETTINGS{settings}")
    for statement in add_user_hash_ddl():
        client.command(statement)
    for name, event_id, event_time, key_time, received, has_time in OLD_ROWS:
        client.command(
            f"INSERT INTO {EVENTS_TABLE} (name, channel_type, id, event_time, key_time,"
            f" received_at, timestamp) SELECT '{name}', 'web', '{event_id}',"
            f" toDateTime64({event_time}, 6, 'UTC'), toDateTime64({key_time}, 6, 'UTC'),"
            f" toDateTime64({received}, 6, 'UTC'), {event_time if has_time else 'NULL'}"
        )


def assert_migrated(client: Client) -> None:
    assert pending(client, TABLE_SCHEMA) == []
    [[key]] = client.query(
        "SELECT sorting_key FROM system.tables"
        f" WHERE database = currentDatabase() AND name = '{EVENTS_TABLE}'"
    ).result_rows
    assert key == SORT_KEY
    assert client.command(COUNT) == EVENTS
    assert client.command(APPROXIMATE) == EVENTS
    times = client.query(
        "SELECT id, toUnixTimestamp(toDateTime(event_time)), toUnixTimestamp64Micro(key_time)"
        f" FROM {EVENTS_TABLE} FINAL WHERE timestamp IS NULL ORDER BY id"
    ).result_rows
    assert times == [
        ("0187dd0c-3980-7abc-8abc-000000000000", 70, -1),
        ("random", 80, 80_000_000),
        ("timeless", 50, -1),
    ]
    left = client.query("SELECT name FROM system.tables WHERE database = currentDatabase()")
    assert not {NEW, OLD} & {name for (name,) in left.result_rows}


def test_every_event_is_there_once_with_its_own_time(earlier: Callable[[], Client]) -> None:
    client = earlier()
    assert "the whole identity" in migrate(client, TABLE_SCHEMA)[0]
    assert_migrated(client)
    # A retry that arrives now is the same event still.
    rows = table([event(id="order", timestamp=1_705_312_800)], received_us=RECEIVED_US)
    Writer(earlier, EVENTS_TABLE).write(rows, token="retry")
    assert client.command(COUNT) == EVENTS


def test_two_workers_that_start_at_once_migrate_once(
    clickhouse: ClickHouse, tmp_path: Path
) -> None:
    url = clickhouse.create_database()
    make_earlier_tables(connect(url))
    with running_service(tmp_path, "--clickhouse-url", url, "--workers", "3") as service:
        assert count(service, "e") == EVENTS - 1
        assert count(service, "other") == 1
        assert post(service, "/events", event(id="order", timestamp=1_705_312_800)).status == 201
        assert count(service, "e") == EVENTS - 1
    assert_migrated(connect(url))


def test_what_is_stored_while_it_is_copied_is_kept(
    clickhouse: ClickHouse,
) -> None:
    """By a service of the earlier version that was not stopped."""
    url = clickhouse.create_database()
    client = connect(url)
    make_earlier_tables(client)
    statements = pending(client, TABLE_SCHEMA)[0].statements
    swap = next(n for n, text in enumerate(statements) if text.startswith("RENAME"))
    for statement in statements[:swap]:
        client.command(statement)
    client.command(
        f"INSERT INTO {EVENTS_TABLE} (name, channel_type, id, event_time, key_time, received_at,"
        " timestamp) SELECT 'late', 'web', '1', now64(6), now64(6), now64(6), 5"
    )
    for statement in statements[swap:]:
        client.command(statement)
    migrate(client, TABLE_SCHEMA)
    assert client.command(f"{COUNT} WHERE name = 'late'") == 1
    assert client.command(COUNT) == EVENTS + 1


@pytest.mark.parametrize("first", range(12))
def test_two_that_migrate_at_once_lose_nothing(clickhouse: ClickHouse, first: int) -> None:
    """One does so many statements, the other all of them, and then the first goes on."""
    url = clickhouse.create_database()
    make_earlier_tables(connect(url))
    plan = [s for change in pending(connect(url), TABLE_SCHEMA) for s in change.statements]
    for statement in plan[:first]:
        connect(url).command(statement)
    migrate(connect(url), TABLE_SCHEMA)
    for statement in plan[first:]:
        try:
            connect(url).command(statement)
        except DatabaseError:
            break  # it begins anew, as the service does
    migrate(connect(url), TABLE_SCHEMA)
    assert_migrated(connect(url))


@pytest.mark.parametrize("kill_at", range(22))
@pytest.mark.parametrize("dsn", ["server"], indirect=True, scope="session")
def test_a_kill_at_any_statement_loses_nothing(earlier: Callable[[], Client], kill_at: int) -> None:
    """The statement is cut short: of the copy a part is done, and of all others nothing."""
    changes = pending(earlier(), TABLE_SCHEMA)
    statements = [statement for change in changes for statement in change.statements]
    for statement in statements[:kill_at]:
        earlier().command(statement)
    if kill_at < len(statements) and statements[kill_at].startswith(f"INSERT INTO {NEW}"):
        cut = statements[kill_at].replace(
            f"FROM {EVENTS_TABLE} SETTINGS", f"FROM {EVENTS_TABLE} LIMIT 3 SETTINGS"
        )
        assert cut != statements[kill_at]
        earlier().command(cut)
    migrate(earlier(), TABLE_SCHEMA)
    assert_migrated(earlier())
