"""Two shards on two real servers: the same answers as from one, and what only a cluster has."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import tenacity
from clickhouse_connect.driver.client import Client

from ingest.event.arrow import TABLE_SCHEMA
from storage.clickhouse.client import connect
from storage.clickhouse.writer import Writer
from storage.errors import PausedError, TransientError
from storage.tables.cluster import ClusterLayout
from storage.tables.expected import DATA_TABLES
from storage.tables.inspection import (
    count_events,
    damaged_parts,
    detached_parts,
    unreadable_replicas,
)
from storage.tables.migrations import apply, migrate, pending
from storage.tables.rollups import VIEWS
from storage.tables.schema import EVENTS_TABLE
from tests.clickhouse.on_cluster import CLUSTER, Cluster, OnClusterProxy, cluster
from tests.contract import test_query_results
from tests.contract.test_storage import event, table

PLACEMENT = ClusterLayout(CLUSTER)
SETTINGS = {**PLACEMENT.settings, "distributed_product_mode": "global"}
Connect = Callable[[], Client]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("shards")) as running:
        yield running


@pytest.fixture
def connected(shards: Cluster) -> Connect:
    """Makes clients of the cluster, whose tables are empty."""
    make_tables(shards.url)
    for name in DATA_TABLES:
        shards.sql(f"TRUNCATE TABLE {name}_local")
    return lambda: connect(shards.url, settings=SETTINGS)


def make_tables(url: str) -> None:
    """As the service does it: what is transient is tried again."""
    for retry in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(TransientError),
        stop=tenacity.stop_after_attempt(5),
        wait=tenacity.wait_fixed(0.2),
        reraise=True,
    ):
        with retry:
            migrate(connect(url, settings=SETTINGS), TABLE_SCHEMA, layout=PLACEMENT)


def run_cli(cluster: Cluster, data_dir: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    options = ["--data-dir", str(data_dir), "--clickhouse-url", cluster.url]
    return subprocess.run(
        [sys.executable, "-m", "ingest", *command, *options],
        capture_output=True, text=True, timeout=60,
        env={"EVENT_STREAM_CLICKHOUSE_CLUSTER": CLUSTER, "PATH": ""},
    )  # fmt: skip


@pytest.mark.parametrize(
    "answers_are_right",
    [
        test_query_results.test_metrics_are_what_plain_python_counts,
        test_query_results.test_rollups_are_what_plain_python_counts,
        test_query_results.test_funnels_are_what_plain_python_finds,
        test_query_results.test_retention_is_what_plain_python_finds,
    ],
    ids=["metrics", "rollups", "funnels", "retention"],
)
def test_answers_over_shards_are_what_plain_python_finds(
    connected: Connect, answers_are_right: Callable[[Connect, int], None]
) -> None:
    answers_are_right(connected, 0)


def test_copies_of_an_event_meet_whatever_server_takes_them(
    shards: Cluster, connected: Connect
) -> None:
    rows = table([event(id=str(n), timestamp=1_705_312_800) for n in range(1000)])
    for index, server in enumerate(shards.servers * 2):
        client = connect(server.url(shards.database), settings=SETTINGS)
        Writer(lambda: client, EVENTS_TABLE).write(rows, token=f"copy-{index}")  # noqa: B023
    assert count_events(connected()) == (1000, 1000)
    spread = [int(text) for text in shards.sql("SELECT count() FROM events_local FINAL")]
    assert sum(spread) == 1000
    assert min(spread) > 400


def test_the_server_confirms_exactly_the_rows_that_were_sent(connected: Connect) -> None:
    client = connected()
    rows = table([event(id=str(n)) for n in range(100)])
    summary = client.insert_arrow(EVENTS_TABLE, rows, settings={"distributed_foreground_insert": 1})
    assert summary.written_rows == 100


def test_what_was_written_is_read_though_replicas_lag(tmp_path: Path) -> None:
    """These replicas never copy from each other: a lag without end."""
    with cluster(tmp_path, shards=1, replicas=2) as replicas:
        make_tables(replicas.url)
        clients = [
            connect(server.url(replicas.database), settings=SETTINGS) for server in replicas.servers
        ]
        for number in range(30):
            writing, reading = clients[number % 2], clients[number // 2 % 2]
            writer = Writer(lambda: writing, EVENTS_TABLE)  # noqa: B023
            writer.write(table([event(id=str(number))]), token=str(number))
            assert count_events(reading) == (number + 1, number + 1)
        assert replicas.sql("SELECT count() FROM events_local") == ["30", "0"]
        replicas.servers[0].kill()
        Writer(lambda: clients[1], EVENTS_TABLE).write(table([event(id="late")]), token="late")
        assert count_events(clients[1]) == (1, 1)


def test_the_doctor_looks_at_all_shards(
    shards: Cluster, connected: Connect, tmp_path: Path
) -> None:
    rows = table([event(id=str(n), timestamp=1_705_312_800) for n in range(2000)])
    Writer(connected, EVENTS_TABLE).write(rows, token="rows")
    healthy = run_cli(shards, tmp_path, "doctor")
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    assert "2000 events in the table, 2000 different ids" in healthy.stdout
    other = shards.servers[1]
    part = Path(
        other.sql(
            "SELECT path FROM system.parts WHERE active AND table = 'events_local'"
            " ORDER BY rows DESC LIMIT 1"
        )
    )
    data = part / "data.bin"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    other.sql("SYSTEM DROP UNCOMPRESSED CACHE")
    damaged = run_cli(shards, tmp_path, "doctor")
    assert damaged.returncode == 1, damaged.stdout + damaged.stderr
    assert "FAULT: a part of events can't be read" in damaged.stdout
    other.stop()
    (part / "columns.txt").write_text("not what it was")
    other.start()
    [fault] = detached_parts(connected(), PLACEMENT)
    assert "of events_local on" in fault
    assert f":{other.tcp_port} is detached: broken" in fault
    other.sql("DROP TABLE events_local SYNC", database=shards.database)
    connected_again = connect(shards.url, settings=SETTINGS)
    apply(connected_again, pending(connected_again, TABLE_SCHEMA, layout=PLACEMENT))
    assert damaged_parts(connected_again, PLACEMENT) == []
    assert unreadable_replicas(connected_again, PLACEMENT) == []


def test_rows_that_a_shard_refuses_become_dead_letters_that_can_be_replayed(
    shards: Cluster, connected: Connect, tmp_path: Path
) -> None:
    from ingest.pipeline.retrying_writer import RetryingWriter
    from storage.dead_letters import DeadLetters

    shards.sql("ALTER TABLE events_local ADD CONSTRAINT sane CHECK user_id != 'poison'")
    events = [event(id=str(n), user_id="poison" if n % 100 == 7 else "u") for n in range(400)]
    letters = DeadLetters(tmp_path, bytes_max=10**6)
    writer = RetryingWriter(
        writer=Writer(connected, EVENTS_TABLE), dead_letters=letters, failed=lambda _: None
    )
    assert writer.store(table(events), token="mixed") == 4
    assert count_events(connected()) == (396, 396)
    shards.sql("ALTER TABLE events_local DROP CONSTRAINT sane")
    replayed = run_cli(shards, tmp_path, "dead-letters", "replay")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert count_events(connected()) == (400, 400)
    assert list(letters) == []


def test_a_shard_that_is_added_takes_later_events_and_doubles_none(tmp_path: Path) -> None:
    def events(day: str) -> list[Any]:
        return [event(id=str(n), user_id=str(n % 7), date=f"{day}T10:00:00Z") for n in range(600)]

    later = datetime.now(UTC).date() + timedelta(days=30)
    old, new = table(events("2024-01-15")), table(events(f"{later}"))
    timeless = table([event(id=f"timeless-{n}") for n in range(300)])
    with cluster(tmp_path) as growing:
        make_tables(growing.url)
        client = connect(growing.url, settings=SETTINGS)
        writer = Writer(lambda: client, EVENTS_TABLE)
        writer.write(old, token="old")
        writer.write(timeless, token="timeless")
        added = growing.add_shard()
        # Whoever makes the tables through it takes over how the others shard.
        direct = OnClusterProxy([added, *growing.servers[:2]])
        with direct:
            url = direct.through(added.url(growing.database))
            make_tables(url)
            Writer(lambda: connect(url, settings=SETTINGS), EVENTS_TABLE).write(old, token="new")
        assert count_events(connect(growing.url, settings=SETTINGS)) == (900, 900)
        for name in [*DATA_TABLES, *(f"{table}_local" for table in DATA_TABLES), *VIEWS]:
            added.sql(f"DROP TABLE {name} SYNC", database=growing.database)
        added.sql("DROP TABLE schema_migrations SYNC", database=growing.database)
        shown = run_cli(growing, tmp_path, "migrate", "--dry-run")
        assert "CREATE OR REPLACE TABLE events ON CLUSTER" in shown.stdout
        assert growing.servers[2].sql("SHOW TABLES", database=growing.database) == ""
        migrated = run_cli(growing, tmp_path, "migrate")
        assert migrated.returncode == 0, migrated.stderr
        assert "1 more shards" in migrated.stdout
        assert run_cli(growing, tmp_path, "migrate").stdout == "nothing to do\n"
        client = connect(growing.url, settings=SETTINGS)
        for round_number in range(2):
            for name, rows in (("old", old), ("timeless", timeless), ("new", new)):
                Writer(lambda: client, EVENTS_TABLE).write(rows, token=f"{name}-{round_number}")
        assert count_events(client) == (1500, 900)  # old and new have ids in common
        stored = growing.sql("SELECT count() FROM events_local FINAL WHERE key_time < now()")
        assert stored[2] == "0"
        spread = growing.sql("SELECT count() FROM events_local FINAL WHERE key_time > now()")
        assert sum(map(int, spread)) == 600
        assert min(map(int, spread)) > 120
        # Through the new server, too.
        through_new = connect(growing.servers[2].url(growing.database), settings=SETTINGS)
        changes = pending(through_new, TABLE_SCHEMA, layout=PLACEMENT)
        assert not any("OR REPLACE" in text for change in changes for text in change.statements)
        Writer(lambda: through_new, EVENTS_TABLE).write(old, token="through the new one")
        assert count_events(client) == (1500, 900)
        # A shard that is gone again would take its events with it.
        removed = growing.servers.pop()
        growing.configure()
        for server in growing.servers:
            server.restart()
        with pytest.raises(PausedError, match="put them back"):
            pending(connect(growing.url, settings=SETTINGS), TABLE_SCHEMA, layout=PLACEMENT)
        growing.servers.append(removed)
