"""The statements that make Replicated tables, run by two real servers with a real ZooKeeper.

The engine out of the wheel opens no port for other replicas. So the tables are made, but stay
read-only: rows and new columns are refused.
"""

from collections.abc import Iterator

import pytest

from ingest.event.arrow import TABLE_SCHEMA
from storage.clickhouse.client import connect
from storage.clickhouse.writer import Writer
from storage.errors import TransientError
from storage.tables.cluster import ClusterLayout
from storage.tables.expected import DATA_TABLES, MIGRATIONS_TABLE
from storage.tables.migrations import pending, steps
from storage.tables.rollups import ROLLUPS
from storage.tables.schema import DEDUPLICATION_INSERTS, add_user_hash_ddl
from storage.tables.sharding import Sharding
from tests.clickhouse.on_cluster import CLUSTER, Cluster, cluster, without_on_cluster
from tests.clickhouse.server import ServerError
from tests.clickhouse.zookeeper import running_zookeeper
from tests.contract.test_storage import event, table

PLACEMENT = ClusterLayout(CLUSTER)
READ_ONLY = 242
[ADD_USER_HASH, _] = add_user_hash_ddl(PLACEMENT)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two, of one replica each."""
    directory = tmp_path_factory.mktemp("replicated")
    with (
        running_zookeeper(directory) as port,
        cluster(directory, zookeeper_port=port) as running,
    ):
        yield running


def migrations(shards: Cluster) -> list[str]:
    """What `event-stream migrate` would do now, but for recording that it is done."""
    client = connect(shards.servers[0].url(shards.database))
    changes = pending(client, TABLE_SCHEMA, layout=PLACEMENT)
    statements = [statement for change in changes for statement in change.statements]
    return [s for s in statements if not s.startswith(f"INSERT INTO {MIGRATIONS_TABLE} ")]


@pytest.fixture(scope="module")
def refused(shards: Cluster) -> set[tuple[str, int]]:
    """Makes the tables on each server, twice. What a server refused: the statement and the code."""
    found = set()
    for statement in migrations(shards) * 2:
        for server in shards.servers:
            try:
                server.sql(without_on_cluster(with_user_hash(statement)), database=shards.database)
            except ServerError as error:
                found.add((statement, error.code))
    return found


def with_user_hash(statement: str) -> str:
    """CREATE TABLE events_local with the column that ALTER can't add to a read-only table."""
    column = ADD_USER_HASH.partition("IF NOT EXISTS ")[2]
    return statement.replace("    `version` UInt64", f"    {column},\n    `version` UInt64")


def test_each_server_takes_every_statement_twice_but_new_columns_when_read_only(
    shards: Cluster, refused: set[tuple[str, int]]
) -> None:
    assert refused == {(ADD_USER_HASH, READ_ONLY)}


def test_what_was_executed_is_all_that_makes_tables_for_two_shards(
    shards: Cluster, refused: set[tuple[str, int]]
) -> None:
    wanted = steps(TABLE_SCHEMA, layout=PLACEMENT, sharding=Sharding.of(2))
    # All steps are still to be done: a row would record that they are.
    assert migrations(shards) == [s for step in wanted for s in step.statements + step.once]


def test_tables_with_rows_are_replicated_and_those_before_them_distributed(
    shards: Cluster, refused: set[tuple[str, int]]
) -> None:
    tables = "SELECT name, engine FROM system.tables WHERE database = currentDatabase()"
    for made in shards.sql(tables):
        assert dict(line.split("\t") for line in made.splitlines()) == {
            "events_local": "ReplicatedReplacingMergeTree",
            MIGRATIONS_TABLE: "ReplicatedReplacingMergeTree",
            **{f"{name}_local": "ReplicatedAggregatingMergeTree" for _, name in ROLLUPS},
            **{f"{name}_view": "MaterializedView" for _, name in ROLLUPS},
            **dict.fromkeys(DATA_TABLES, "Distributed"),
        }


def test_a_shard_has_a_path_of_its_own_and_all_share_that_of_the_migrations(
    shards: Cluster, refused: set[tuple[str, int]]
) -> None:
    replicas = "SELECT table, zookeeper_path, replica_name FROM system.replicas"
    root = "/clickhouse/tables"
    for shard, found in zip(("01", "02"), shards.sql(replicas), strict=True):
        of_table = {name: rest for name, *rest in (line.split("\t") for line in found.splitlines())}
        shared = [f"{root}/all/{shards.database}/{MIGRATIONS_TABLE}", f"{shard}-r1"]
        assert of_table.pop(MIGRATIONS_TABLE) == shared
        assert of_table == {
            f"{name}_local": [f"{root}/{shard}/{shards.database}/{name}_local", "r1"]
            for name in DATA_TABLES
        }
    total = f"SELECT total_replicas FROM system.replicas WHERE table = '{MIGRATIONS_TABLE}'"
    assert shards.sql(total) == ["2", "2"]


def test_inserts_are_synced_and_their_tokens_remembered(
    shards: Cluster, refused: set[tuple[str, int]]
) -> None:
    for engine in shards.sql("SELECT engine_full FROM system.tables WHERE name = 'events_local'"):
        assert f"replicated_deduplication_window = {DEDUPLICATION_INSERTS}," in engine
        assert "fsync_after_insert = 1," in engine
        assert "fsync_part_directory = 1," in engine


@pytest.mark.parametrize("name", ["events_local", "events"])
def test_rows_for_a_read_only_replica_are_kept_and_sent_again(
    shards: Cluster, refused: set[tuple[str, int]], name: str
) -> None:
    # Otherwise the server itself tries again for minutes before it refuses.
    settings = {**PLACEMENT.settings, "insert_keeper_max_retries": 0}
    url = shards.servers[0].url(shards.database)
    writer = Writer(lambda: connect(url, settings=settings), name)
    with pytest.raises(TransientError) as error:
        writer.write(table([event()]), token="read-only")
    assert error.value.code == READ_ONLY
