"""The statements that make tables on a cluster, as ClickHouse's parser takes them."""

from collections.abc import Callable

from clickhouse_connect.driver.client import Client

from ingest.event.arrow import TABLE_SCHEMA
from storage.tables.cluster import ClusterLayout
from storage.tables.migrations import steps
from storage.tables.schema import add_column_ddl

CLUSTER = ClusterLayout("analytics")
STATEMENTS = [
    *(s for step in steps(TABLE_SCHEMA, layout=CLUSTER) for s in step.statements),
    *add_column_ddl("mood", "String", CLUSTER),
]


def test_the_parser_takes_every_statement(connected: Callable[[], Client]) -> None:
    client = connected()
    for statement in STATEMENTS:
        assert client.command(f"EXPLAIN AST {statement}")


def test_everything_is_made_on_the_whole_cluster_and_replicated() -> None:
    for statement in STATEMENTS:
        assert statement.startswith("INSERT") or " ON CLUSTER `analytics`" in statement
        if "MergeTree" in statement:
            assert "ENGINE = Replicated" in statement
            assert "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'" in statement


def test_copies_of_an_event_meet_on_one_shard() -> None:
    [distributed] = [s for s in STATEMENTS if s.startswith("CREATE TABLE IF NOT EXISTS events ON")]
    assert "Distributed('analytics', currentDatabase(), 'events_local', cityHash64(id) % 1)" in (
        distributed
    )


def test_views_feed_the_tables_of_their_own_shard() -> None:
    views = [s for s in STATEMENTS if "MATERIALIZED VIEW" in s]
    assert len(views) == 2
    for view in views:
        assert "_local AS SELECT" in view
        assert "FROM events_local" in view or "FROM events_hourly_local" in view


def test_one_server_has_neither_copies_nor_parts() -> None:
    for step in steps(TABLE_SCHEMA):
        for statement in step.statements:
            assert "Replicated" not in statement
            assert "CLUSTER" not in statement
            assert "_local" not in statement
