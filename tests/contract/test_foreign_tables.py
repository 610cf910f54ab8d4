"""Tables that somebody else has made are told in one line, and left as they are."""

import pytest

from ingest.event.arrow import TABLE_SCHEMA
from storage.clickhouse.client import connect
from storage.errors import PausedError
from storage.tables.cluster import ClusterLayout
from storage.tables.migrations import migrate
from tests.clickhouse.on_cluster import CLUSTER
from tests.clickhouse.server import ClickHouse

EARLIER_SERVICE = """CREATE TABLE events
(id UUID, name String, channel_type String, timestamp DateTime, user_id String)
ENGINE = MergeTree ORDER BY (name, timestamp)"""


@pytest.mark.parametrize(
    ("name", "statement", "says"),
    [
        ("events", EARLIER_SERVICE, "MergeTree, sorted by name, timestamp"),
        (
            "events",
            "CREATE TABLE events (name String, id String, key_time DateTime, version UInt64)"
            " ENGINE = ReplacingMergeTree(version) ORDER BY (name, id)",
            "ReplacingMergeTree, sorted by name, id",
        ),
        ("events", "CREATE VIEW events AS SELECT 1", "View"),
        (
            "schema_migrations",  # as golang-migrate makes it
            "CREATE TABLE schema_migrations (version Int64, dirty UInt8, sequence UInt64)"
            " ENGINE = TinyLog",
            "TinyLog",
        ),
        (
            "events_hourly",
            "CREATE TABLE events_hourly (hour DateTime, n UInt64) ENGINE = SummingMergeTree"
            " ORDER BY hour",
            "SummingMergeTree, sorted by hour",
        ),
    ],
    ids=["plain", "other key", "view", "other migrations", "other rollup"],
)
def test_a_table_of_somebody_else_is_left_alone(
    clickhouse: ClickHouse, name: str, statement: str, says: str
) -> None:
    url = clickhouse.create_database()
    client = connect(url)
    client.command(statement)
    before = client.query("SELECT name, create_table_query FROM system.tables"
                          " WHERE database = currentDatabase()").result_rows  # fmt: skip
    with pytest.raises(PausedError, match="left alone: name another database") as error:
        migrate(client, TABLE_SCHEMA)
    assert f"Table {name} of database" in str(error.value)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    after = client.query("SELECT name, create_table_query FROM system.tables"
                         " WHERE database = currentDatabase()").result_rows  # fmt: skip
    assert after == before


def test_tables_of_one_server_are_not_taken_for_those_of_a_cluster(clickhouse: ClickHouse) -> None:
    client = connect(clickhouse.create_database())
    migrate(client, TABLE_SCHEMA)
    with pytest.raises(PausedError, match="not one of Event Stream on a cluster"):
        migrate(client, TABLE_SCHEMA, layout=ClusterLayout(CLUSTER))


def test_a_table_beside_ours_does_not_matter(clickhouse: ClickHouse) -> None:
    client = connect(clickhouse.create_database())
    client.command("CREATE TABLE orders (id UInt64) ENGINE = MergeTree ORDER BY id")
    assert migrate(client, TABLE_SCHEMA)
    assert migrate(client, TABLE_SCHEMA) == []


def test_a_cluster_that_the_server_does_not_know_is_told(clickhouse: ClickHouse) -> None:
    client = connect(clickhouse.create_database())
    with pytest.raises(PausedError, match="knows no cluster missing: correct clickhouse_cluster"):
        migrate(client, TABLE_SCHEMA, layout=ClusterLayout("missing"))
