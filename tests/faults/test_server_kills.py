"""A ClickHouse server, both shards of a cluster, and the service are killed under load.

Each test sends 300,000 events in batches of up to 1,000. Every acknowledged event is stored, none
is stored twice, and only events that were sent are stored.
"""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.harness.service import Service
from tests.clickhouse.on_cluster import CLUSTER, cluster
from tests.clickhouse.server import running_clickhouse
from tests.end_to_end.api import books
from tests.faults.harness import Load, assert_nothing_lost_or_doubled, wait_until

EVENTS = 300_000
SIZES = (1, 100, 1000, 1000, 1000, 1000)
READY_S_MAX = 60


def run_and_kill(load: Load, kills: list[Callable[[], None]], seed: int) -> None:
    """Call each of `kills` at a random moment, and wait until EVENTS are acknowledged."""
    rng = random.Random(seed)
    rng.shuffle(kills)
    for number, kill in enumerate(kills, 1):
        load.wait_for(EVENTS * number // (len(kills) + 1), timeout_s=120)
        time.sleep(rng.uniform(0, 0.5))
        kill()
    load.wait_for(EVENTS, timeout_s=120)


def wait_until_stored(service: Service) -> None:
    """Wait until all events are stored."""
    wait_until(lambda: service.request("GET", "/readyz").status == 200, READY_S_MAX)
    wait_until(lambda: books(service)["in_flight"] == 0, READY_S_MAX)


@pytest.mark.parametrize("workers", [1, 2])
def test_kills_of_the_server_and_of_the_service(tmp_path: Path, workers: int) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    with running_clickhouse(tmp_path / "server") as server:
        url = server.create_database()
        arguments = ("--clickhouse-url", url, "--workers", str(workers))
        service = Service(tmp_path / "data", *arguments)
        service.start()

        def kill_server() -> None:
            server.kill()
            server.start()

        def kill_service() -> None:
            service.kill()
            service.start(READY_S_MAX)

        with Load(service, seed=seed, repeats=2, sizes=SIZES) as load:
            run_and_kill(load, [kill_server, kill_service] * 3, seed)
        wait_until_stored(service)
        assert_nothing_lost_or_doubled(service, tmp_path / "data", url, load)


def test_kills_of_both_shards_of_a_cluster(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    with cluster(tmp_path / "cluster") as shards:
        service = Service(
            tmp_path / "data",
            *("--clickhouse-url", shards.url, "--workers", "2"),
            environment={"EVENT_STREAM_CLICKHOUSE_CLUSTER": CLUSTER},
        )
        service.start()

        def kill(number: int) -> Callable[[], None]:
            def kill_shard() -> None:
                shards.servers[number].kill()
                shards.servers[number].start()

            return kill_shard

        with Load(service, seed=seed, repeats=2, sizes=SIZES) as load:
            run_and_kill(load, [kill(0), kill(1)], seed)
        wait_until_stored(service)
        assert_nothing_lost_or_doubled(service, tmp_path / "data", shards.url, load)
