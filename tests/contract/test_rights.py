"""Least rights: the GRANTs in docs/operations.md suffice, and less is told from what is missing."""

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingest.event.arrow import TABLE_SCHEMA
from storage.clickhouse.client import connect
from storage.clickhouse.interruption import READ_ONLY
from storage.clickhouse.reader import QueryLimits, Reader
from storage.clickhouse.writer import Writer
from storage.errors import PausedError
from storage.tables.cluster import ClusterLayout
from storage.tables.inspection import (
    broken_parts_query,
    count_events,
    damaged_parts,
    detached_parts,
    recent_keys,
    unreadable_replicas,
)
from storage.tables.migrations import apply, migrate, pending
from storage.tables.schema import EVENTS_TABLE
from tests.clickhouse.on_cluster import CLUSTER, Cluster
from tests.clickhouse.users import user, users_xml
from tests.contract.test_storage import event, table

DOCS = Path(__file__).parents[2] / "docs" / "operations.md"
DATABASE = "analytics"
SINGLE, SHARDED = ClusterLayout(), ClusterLayout(CLUSTER)
UrlOf = Callable[[str], str]


def documented_grants() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The GRANTs of each user: for one server, and for a cluster, which needs both."""
    blocks = re.findall(r"```sql\n(.*?)```", DOCS.read_text(), re.S)
    found: list[dict[str, list[str]]] = []
    for block in blocks:
        grants: dict[str, list[str]] = {}
        for grant, users in re.findall(r"(GRANT .*) TO (.*);", block):
            for name in users.split(", "):
                grants.setdefault(name, []).append(grant)
        found.append(grants)
    single, more = found
    return single, {name: single[name] + more[name] for name in single}


@pytest.fixture(scope="module", params=["one server", "cluster"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[
    tuple[Cluster, ClusterLayout]
]:  # fmt: skip
    """Servers with the documented users, without tables."""
    is_cluster = request.param == "cluster"
    grants = documented_grants()[is_cluster]
    users = users_xml(
        user("app"),
        *(user(name, grants=tuple(of_user)) for name, of_user in grants.items()),
        user("doctor", grants=(*grants["stream"], f"GRANT CHECK ON {DATABASE}.*")),
        user("blind", grants=tuple(g for g in grants["stream"] if "detached" not in g)),
    )
    made = Cluster(tmp_path_factory.mktemp("place"), database=DATABASE, users_xml=users)
    with made.proxy:
        made.start()
        yield made, SHARDED if is_cluster else SINGLE
    for server in made.servers:
        server.stop()


@pytest.fixture(scope="module")
def url_of(place: tuple[Cluster, ClusterLayout]) -> UrlOf:
    """The URL for a user."""
    cluster, _ = place
    return lambda name: cluster.proxy.through(cluster.servers[0].url(DATABASE, user=name))


def test_a_user_who_may_not_create_is_told_to_let_an_admin_migrate(
    place: tuple[Cluster, ClusterLayout], url_of: UrlOf
) -> None:
    cluster, layout = place
    client = connect(url_of("stream"), settings=layout.settings)
    with pytest.raises(PausedError, match="run event-stream migrate as a user who has it"):
        migrate(client, TABLE_SCHEMA, layout=layout)
    assert cluster.servers[0].sql("SHOW TABLES", database=DATABASE) == ""


def test_an_admin_migrates_and_the_service_reads_and_inserts(
    place: tuple[Cluster, ClusterLayout], url_of: UrlOf
) -> None:
    _, layout = place
    admin = connect(url_of("stream_admin"), settings=layout.settings)
    assert migrate(admin, TABLE_SCHEMA, layout=layout)
    client = connect(url_of("stream"), settings=layout.settings)
    assert migrate(client, TABLE_SCHEMA, layout=layout) == []
    writer = Writer(lambda: client, EVENTS_TABLE)
    writer.write(table([event(id=str(n), user_id="u") for n in range(100)]), token="rows")
    assert count_events(client) == (100, 100)
    rollup = "SELECT toUInt64(uniqCombined64Merge(13)(events)) FROM events_daily"
    assert client.command(rollup) == 100
    sql, parameters = broken_parts_query(layout)
    reader = Reader(
        lambda: connect(url_of("stream"), settings={**layout.settings, **READ_ONLY}),
        clients=1,
        limits=QueryLimits(timeout_s=10),
    )
    assert asyncio.run(reader.query(sql, parameters, skip_unavailable_shards=1)) == []
    assert len(asyncio.run(recent_keys(reader, seconds=10**9, limit=1000))) == 100
    reader.close()


def test_a_column_that_is_new_is_added_by_the_admin_alone(
    place: tuple[Cluster, ClusterLayout], url_of: UrlOf
) -> None:
    import pyarrow as pa

    cluster, layout = place
    wider = TABLE_SCHEMA.append(pa.field("mood", pa.string()))
    client = connect(url_of("stream"), settings=layout.settings)
    with pytest.raises(PausedError, match="event-stream migrate"):
        migrate(client, wider, layout=layout)
    admin = connect(url_of("stream_admin"), settings=layout.settings)
    assert migrate(admin, wider, layout=layout) == ["column mood"]
    assert migrate(client, wider, layout=layout) == []
    for name in layout.tables(EVENTS_TABLE):
        servers = cluster.servers if layout.cluster else cluster.servers[:1]
        for server in servers:
            server.sql(f"ALTER TABLE {name} DROP COLUMN mood", database=DATABASE)


def test_the_doctor_needs_the_right_to_check(
    place: tuple[Cluster, ClusterLayout], url_of: UrlOf
) -> None:
    _, layout = place
    client = connect(url_of("doctor"), settings=layout.settings)
    assert detached_parts(client, layout) == damaged_parts(client, layout) == []
    if layout.cluster:
        assert unreadable_replicas(client, layout) == []
    with pytest.raises(PausedError, match="CHECK"):
        damaged_parts(connect(url_of("stream"), settings=layout.settings), layout)


def test_without_a_right_only_what_needs_it_is_missing(
    place: tuple[Cluster, ClusterLayout], url_of: UrlOf
) -> None:
    _, layout = place
    reader = Reader(
        lambda: connect(url_of("blind"), settings={**layout.settings, **READ_ONLY}),
        clients=1,
        limits=QueryLimits(timeout_s=10),
    )
    sql, parameters = broken_parts_query(layout)
    with pytest.raises(PausedError, match=r"system\.detached_parts"):
        asyncio.run(reader.query(sql, parameters))
    assert len(asyncio.run(recent_keys(reader, seconds=10**9, limit=1000))) == 100
    reader.close()


@pytest.mark.parametrize("place", ["cluster"], indirect=True, scope="module")
def test_a_shard_that_is_added_does_not_stop_the_service_and_is_used_after_a_migration(
    place: tuple[Cluster, ClusterLayout], url_of: UrlOf
) -> None:
    cluster, layout = place
    added = cluster.add_shard()
    assert added.sql("SHOW TABLES", database=DATABASE) == ""
    stream = connect(url_of("stream"), settings=layout.settings)
    assert migrate(stream, TABLE_SCHEMA, layout=layout) == []  # left to an operator
    writer = Writer(lambda: stream, EVENTS_TABLE)
    writer.write(table([event(id=str(n), user_id="u") for n in range(100)]), token="again")
    admin = connect(url_of("stream_admin"), settings=layout.settings)
    apply(admin, pending(admin, TABLE_SCHEMA, layout=layout))
    assert pending(admin, TABLE_SCHEMA, layout=layout) == []
    assert count_events(stream) == (100, 100)
