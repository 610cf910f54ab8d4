"""Faults around the service: full disks, jumping clocks, bad networks, damaged files, stops."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.harness.service import HOST, Service
from ingest.clock import Clock
from ingest.parsing.validation import validate
from ingest.pipeline.identity import identify
from tests.clickhouse.server import ClickHouse, running_clickhouse, with_port
from tests.end_to_end.api import books, count, event, post
from tests.faults.chaos_proxy import chaos_proxy
from tests.faults.harness import Load, assert_nothing_lost_or_doubled, stored_ids, wait_until


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a tmpfs of 24 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(path)])
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_refuses_and_recovers_without_a_restart(
    small_disk: Path, clickhouse: ClickHouse
) -> None:
    url = clickhouse.create_database()
    service = Service(small_disk, "--clickhouse-url", url)
    service.start()
    with Load(service, seed=1) as load:
        load.wait_for(200)
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space left"):
            filler.write_bytes(bytes(24 << 20))
        wait_until(lambda: load.refused > 5)
        assert service.request("GET", "/readyz").json()["checks"]["wal"] == "failed"
        acknowledged = len(load.acknowledged)
        filler.unlink()
        load.wait_for(acknowledged + 500)
        wait_until(lambda: service.request("GET", "/readyz").status == 200)
    assert_nothing_lost_or_doubled(service, small_disk, url, load)


def test_a_proxy_that_drops_delays_truncates_and_replays_costs_nothing(
    tmp_path: Path, clickhouse: ClickHouse
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    url = clickhouse.create_database()
    with chaos_proxy(clickhouse.http_port, seed) as proxy:
        service = Service(
            tmp_path,
            *("--clickhouse-url", with_port(url, proxy.port)),
            environment={
                "EVENT_STREAM_FLUSH__SECONDS": "0.1",
                "EVENT_STREAM_CLICKHOUSE_TIMEOUT_SECONDS": "3",
            },
        )
        proxy.calm = True
        service.start()
        proxy.calm = False
        with Load(service, seed=seed, repeats=3) as load:
            wait_until(lambda: all(proxy.done.get(a, 0) > 2 for a in ("drop", "replay")), 90)
            wait_until(lambda: proxy.done.get("cut request", 0) > 2, 90)
            wait_until(lambda: proxy.done.get("cut reply", 0) > 2, 90)
        proxy.calm = True
        wait_until(lambda: books(service)["in_flight"] == 0)
        # After a query has failed in the proxy, queries are refused for a second.
        wait_until(lambda: service.answers("/events/metrics?event_name=fault"))
        assert_nothing_lost_or_doubled(service, tmp_path, url, load)


def test_a_stop_with_storage_down_ends_in_time_and_the_next_start_stores(tmp_path: Path) -> None:
    with running_clickhouse(tmp_path / "server") as server:
        url = server.create_database()
        environment = {"EVENT_STREAM_SHUTDOWN_SECONDS": "3"}
        service = Service(tmp_path, "--clickhouse-url", url, environment=environment)
        service.start()
        with Load(service, seed=1) as load:
            load.wait_for(200)
            server.stop()
            load.wait_for(len(load.acknowledged) + 200)
            # An upload that never ends must delay neither the drain nor the stop.
            slow = socket.create_connection((HOST, service.port))
            slow.sendall(b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
            started_s = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(30) == 1  # 1, because it could not drain
            assert time.monotonic() - started_s < 15
            slow.close()
        server.start()
        service.start()
        wait_until(lambda: books(service)["in_flight"] == 0)
        assert_nothing_lost_or_doubled(service, tmp_path, url, load)


def test_two_workers_on_embedded_storage_are_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ingest", "serve", "--workers", "2"]
    result = subprocess.run(
        [*command, "--data-dir", str(tmp_path)], capture_output=True, text=True, timeout=30
    )
    assert result.returncode == 2
    assert "clickhouse_url" in result.stderr


def test_a_clock_that_jumps_changes_no_identity_and_never_goes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    day_ns = 86_400 * 10**9
    base = 1_800_000_000 * 10**9
    times = iter([base, base + day_ns, base - day_ns, base + 1000, base + 2 * day_ns])
    monkeypatch.setattr(time, "time_ns", lambda: next(times))
    clock = Clock()
    seen = [clock.now_us() for _ in range(5)]
    assert seen == sorted(seen)
    from ingest.parsing.strict_json import Decoded

    batch = validate(Decoded([event("c", id="x"), event("c", timestamp=5)], False))
    keys = {
        tuple(identify(batch, idempotency_keys=None, received_us=us).key_times_us) for us in seen
    }
    assert len(keys) == 1


def test_a_part_that_the_table_has_lost_is_noticed_and_stored_again(tmp_path: Path) -> None:
    service = Service(tmp_path)
    service.start()
    with Load(service, seed=1) as load:
        load.wait_for(500)
    assert count(service, "fault") >= 500
    assert service.stop() == 0
    # At its start the engine detaches parts that it can't read, and does not report them.
    for data in event_data(tmp_path):
        (data.parent / "columns.txt").write_bytes(b"no columns")
    assert "is detached" in doctor(tmp_path, expected=1)
    service.start()
    wait_until(lambda: books(service)["in_flight"] == 0)
    assert_nothing_lost_or_doubled(service, tmp_path, None, load)


def event_data(data_dir: Path) -> list[Path]:
    """Return the data file of each part that is in use."""
    found = [
        path
        for path in (data_dir / "clickhouse").glob("**/data.bin")
        if re.search(r"/\d{4,6}_\d+_\d+_\d+/data.bin$", str(path)) and "detached" not in str(path)
    ]
    assert found
    return found


def doctor(data_dir: Path, *, expected: int) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "ingest", "doctor", "--data-dir", str(data_dir)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert result.returncode == expected, result.stdout + result.stderr
    return result.stdout


def test_a_flipped_bit_in_a_part_is_found_by_the_doctor(tmp_path: Path) -> None:
    service = Service(tmp_path)
    service.start()
    events = [event("flip", id=str(i), timestamp=1_705_312_800 + i) for i in range(1000)]
    assert post(service, "/events/batch", events).status == 201
    assert count(service, "flip") == 1000
    assert service.stop() == 0
    assert "No problems found" in doctor(tmp_path, expected=0)
    data = max(event_data(tmp_path), key=lambda path: path.stat().st_size)
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    assert "is damaged" in doctor(tmp_path, expected=1)


def test_the_doctor_finds_nothing_wrong_with_a_service_that_was_killed(tmp_path: Path) -> None:
    service = Service(tmp_path, environment={"EVENT_STREAM_FLUSH__SECONDS": "3600"})
    service.start()
    assert post(service, "/events/batch", [event("d", id=str(i)) for i in range(7)]).status == 201
    service.kill()
    assert "7 events in the WAL are not in the table yet" in doctor(tmp_path, expected=0)
    service.start()
    assert count(service, "d") == 7
    ledger = service.request("GET", "/debug/ledger").json()
    assert ledger["balanced"]
    assert ledger["total"]["stored"] == 7
    assert service.stop() == 0
    assert len(stored_ids("chdb:///" + os.fspath(tmp_path / "clickhouse"))) == 7
