"""A cluster of two shards: each event is stored once, on one shard, even if a shard crashes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.harness.service import Service
from tests.clickhouse.on_cluster import CLUSTER, Cluster, cluster
from tests.end_to_end.api import books, count, event, metrics, post
from tests.faults.harness import Load, assert_nothing_lost_or_doubled, wait_until


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def service(shards: Cluster, tmp_path: Path) -> Iterator[Service]:
    """Run a service with two workers on empty tables."""
    environment = {"EVENT_STREAM_CLICKHOUSE_CLUSTER": CLUSTER}
    arguments = ("--clickhouse-url", shards.url, "--workers", "2")
    service = Service(tmp_path, *arguments, environment=environment)
    service.start()
    for table in ("events", "events_hourly", "events_daily"):
        shards.sql(f"TRUNCATE TABLE {table}_local")
    yield service
    if service.running:
        service.stop()


def test_each_event_is_on_one_shard_and_counted_once(shards: Cluster, service: Service) -> None:
    at = {"timestamp": 1_705_312_800}
    events = [event("spread", id=str(i), user_id=str(i % 10), **at) for i in range(1000)]
    for _ in range(2):
        assert post(service, "/events/batch", {"events": events}).status == 201
    answer = metrics(service, "spread")
    assert (answer["total_count"], answer["unique_user_count"]) == (1000, 10)
    approximate = metrics(service, "spread", approximate="true")
    assert approximate["total_count"] == pytest.approx(1000, rel=0.05)
    stored = [int(text) for text in shards.sql("SELECT count() FROM events_local FINAL")]
    assert sum(stored) == 1000
    assert min(stored) > 300
    assert shards.sql("SELECT count() > 0 FROM events_daily_local") == ["1", "1"]


def test_a_part_that_another_shard_lost_is_noticed_and_stored_again(
    shards: Cluster, service: Service
) -> None:
    events = [event("kept", id=str(n), timestamp=1_705_312_800) for n in range(1000)]
    assert post(service, "/events/batch", {"events": events}).status == 201
    assert count(service, "kept") == 1000
    other = shards.servers[1]
    part = other.sql(
        "SELECT path FROM system.parts WHERE active AND table = 'events_local'"
        " ORDER BY rows DESC LIMIT 1"
    )
    other.stop()
    Path(part, "columns.txt").write_text("not what it was")
    other.start()
    wait_until(lambda: service.request("GET", "/readyz").status == 200)
    wait_until(lambda: count(service, "kept") == 1000, 40)


@pytest.mark.parametrize("number", [0, 1], ids=["the first", "another"])
def test_a_shard_that_crashes_costs_no_event(
    shards: Cluster, service: Service, tmp_path: Path, number: int
) -> None:
    with Load(service, seed=number, repeats=2) as load:
        load.wait_for(500)
        shards.servers[number].kill()
        wait_until(lambda: service.request("GET", "/readyz").status == 503)
        load.wait_for(len(load.acknowledged) + 500)
        shards.servers[number].start()
        wait_until(lambda: service.request("GET", "/readyz").status == 200)
        load.wait_for(len(load.acknowledged) + 500)
    wait_until(lambda: books(service)["in_flight"] == 0)
    assert count(service, "fault") >= len(load.acknowledged)
    assert_nothing_lost_or_doubled(service, tmp_path, shards.url, load)
