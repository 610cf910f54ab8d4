"""SIGKILL at any moment: every acknowledged event is stored exactly once, none is invented."""

import random
import time
from pathlib import Path

import pytest

from bench.harness.service import Service
from tests.clickhouse.server import ClickHouse
from tests.end_to_end.api import count
from tests.fakes.service_with_fail_points import FAIL_POINTS
from tests.faults.harness import KILLS, Load, assert_nothing_lost_or_doubled, wait_until

READY_S_MAX = 30


@pytest.fixture(params=["embedded", "server"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str | None]:
    if request.param == "embedded":
        return tmp_path, None
    return tmp_path, request.getfixturevalue("clickhouse").create_database()


def workers(service: Service) -> dict[str, dict[str, int]]:
    """Return the event counts of each worker, by its number."""
    counts: dict[str, dict[str, int]] = service.request("GET", "/debug/ledger").json()["workers"]
    return counts


def has_reached_several(service: Service) -> bool:
    service.http.clear()  # a connection stays with its worker, so open new ones
    return sum(counts["received"] > 0 for counts in workers(service).values()) > 1


def service_on(
    data_dir: Path, url: str | None, *, workers: int = 2, module: str = "ingest", **environment: str
) -> Service:
    arguments = () if url is None else ("--clickhouse-url", url, "--workers", str(workers))
    return Service(data_dir, *arguments, environment=environment, module=module)


def tear_the_wals(data_dir: Path, rng: random.Random) -> None:
    """Append to the newest segment what a write without a sync can leave there.

    This is zeros, random bytes, or the beginning of a record with flipped bits.
    """
    for directory in (data_dir / "wal").iterdir():
        segments = sorted(directory.glob("*.wal"))
        if not segments or not segments[-1].stat().st_size:
            continue
        length = rng.randint(1, 200)  # shorter than any whole record
        begun = bytearray(segments[-1].read_bytes()[:length])
        for _ in range(rng.randint(1, 8)):
            begun[rng.randrange(len(begun))] ^= 1 << rng.randrange(8)
        with segments[-1].open("ab") as file:
            file.write(rng.choice([bytes(length), rng.randbytes(length), bytes(begun)]))


def test_kills_at_random_moments_under_load(storage: tuple[Path, str | None]) -> None:
    data_dir, url = storage
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    service = service_on(data_dir, url)
    service.start()
    with Load(service, seed=seed, repeats=5) as load:
        for number in range(KILLS):
            time.sleep(rng.uniform(0.05, 1.5))
            service.kill()
            if number % 2:
                tear_the_wals(data_dir, rng)
            started_s = time.monotonic()
            service.start()
            assert time.monotonic() - started_s < READY_S_MAX
        load.wait_for(1_000)
    assert_nothing_lost_or_doubled(service, data_dir, url, load)


@pytest.mark.parametrize("point", FAIL_POINTS)
def test_a_kill_at_each_step_of_the_wal(tmp_path: Path, point: str) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    loads = []
    for round_number in range(max(1, KILLS // 5)):
        passes = rng.randrange(1, 12)
        failing = service_on(
            tmp_path,
            None,
            module="tests.fakes.service_with_fail_points",
            FAIL_POINT=f"{point}:{passes}",
            EVENT_STREAM_FLUSH__SECONDS="0.1",
        )
        failing.start()
        worker = failing.processes.pids()[1]
        with Load(failing, seed=seed + round_number, threads=2) as load:
            deadline_s = time.monotonic() + 60
            while Path(f"/proc/{worker}").exists():
                assert time.monotonic() < deadline_s, "the fail point was never reached"
                time.sleep(0.01)
        failing.kill()
        loads.append(load)
    service = service_on(tmp_path, None)
    service.start()
    with Load(service, seed=seed + 1000) as load:
        load.wait_for(200)
    assert_nothing_lost_or_doubled(service, tmp_path, None, *loads, load)


def test_the_wals_of_removed_workers_are_adopted(tmp_path: Path, clickhouse: ClickHouse) -> None:
    url = clickhouse.create_database()
    # Never flushed by age, so acknowledged events are only in the WALs.
    many = service_on(tmp_path, url, workers=3, EVENT_STREAM_FLUSH__SECONDS="3600")
    many.start()
    wait_until(lambda: len(workers(many)) == 3)
    with Load(many, seed=1, threads=8) as load:
        wait_until(lambda: has_reached_several(many))
        load.wait_for(2_000)
        many.kill()
    wals = [path for path in (tmp_path / "wal").iterdir() if any(path.glob("*.wal"))]
    assert len(wals) >= 2
    one = service_on(tmp_path, url, workers=1)
    one.start()
    deadline_s = time.monotonic() + 30
    while len(load.acknowledged) > count(one, "fault"):
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
    assert_nothing_lost_or_doubled(one, tmp_path, url, load)
