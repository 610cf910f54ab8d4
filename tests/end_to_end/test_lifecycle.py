"""Start and stop: what an operator sees."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import urllib3

from bench.harness.service import Service, free_port, running_service
from ingest.process import NICENESS
from tests.clickhouse.server import running_clickhouse
from tests.end_to_end.api import count, event, metrics, post
from tests.faults.harness import wait_until


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ingest", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )


def assert_refused(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Exit code 2 and one line that has all the parts."""
    assert result.returncode == 2, result.stderr
    [line] = [ln for ln in result.stderr.splitlines() if ln.startswith("event-stream: ")]
    for part in parts:
        assert part in line


def test_a_port_that_is_taken_is_refused_saying_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = run("serve", "--port", port, "--data-dir", str(tmp_path))
    assert_refused(result, port, "--port")


def test_a_data_directory_in_use_is_refused_saying_what_to_do(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        result = run("serve", "--port", str(free_port()), "--data-dir", str(tmp_path))
        assert_refused(result, str(tmp_path), "in use", "--data-dir")
        assert service.request("GET", "/readyz").status == 200


def test_a_wrong_setting_is_one_line_naming_it(tmp_path: Path) -> None:
    assert_refused(run("serve", EVENT_STREAM_PORT="http"), "port")
    assert_refused(run("serve", EVENT_STREAM_PROT="1"), "EVENT_STREAM_PROT")
    config = tmp_path / "config.yaml"
    config.write_text("flush: {rows: 0}\n")
    assert_refused(run("serve", "--config", str(config)), "flush.rows")
    assert_refused(run("serve", "--workers", "2"), "clickhouse_url")


def test_help_is_everywhere() -> None:
    for command in ((), ("serve",), ("load",), ("generate",)):
        result = run(*command, "--help")
        assert result.returncode == 0
        assert "Usage" in result.stdout


def test_starts_where_python_does_not_fork_unless_told_to(tmp_path: Path) -> None:
    """As Python 3.14 does not."""
    (tmp_path / "sitecustomize.py").write_text(
        "import multiprocessing; multiprocessing.set_start_method('spawn')"
    )
    environment = {"PYTHONPATH": str(tmp_path)}
    with running_service(tmp_path / "data", environment=environment) as service:
        assert service.request("GET", "/readyz").status == 200


def test_events_sent_before_the_stop_are_there_after_the_next_start(
    new_service: Callable[..., Service],
) -> None:
    # Flushed by the stop alone: the age at which it is due otherwise is never reached.
    service = new_service(EVENT_STREAM_FLUSH__SECONDS="3600")
    service.start()
    for index in range(50):
        assert post(service, "/events", event("stop", id=str(index))).status == 201
    assert service.stop() == 0
    service.start()
    assert count(service, "stop") == 50
    assert service.stop() == 0


def test_a_stop_under_load_loses_nothing_that_was_acknowledged(
    new_service: Callable[..., Service],
) -> None:
    service = new_service()
    service.start()
    acknowledged: list[str] = []

    def send(worker: int) -> None:
        for index in range(100_000):
            try:
                reply = post(service, "/events", event("load", id=f"{worker}-{index}"))
            except urllib3.exceptions.HTTPError:
                return
            if reply.status != 201:
                assert reply.status == 503
                return
            acknowledged.append(reply.json()["id"])

    with ThreadPoolExecutor(8) as threads:
        senders = [threads.submit(send, worker) for worker in range(8)]
        while len(acknowledged) < 500:
            time.sleep(0.01)
        assert service.stop() == 0
        for sender in senders:
            sender.result()
    service.start()
    assert count(service, "load") >= len(acknowledged)
    assert service.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_stop_that_comes_twice_and_to_all_processes_is_one(
    tmp_path: Path, number: signal.Signals
) -> None:
    """As from a terminal or a supervisor: it hung once in some ten times."""
    for attempt in range(4):
        program = ("setsid", sys.executable, "-m", "ingest")
        service = Service(tmp_path / str(attempt), program=program)
        service.start()
        pids = service.processes.pids() if number == signal.SIGTERM else []
        for _ in range(2):
            os.killpg(service.process.pid, number)
            for pid in pids:
                os.kill(pid, number)
        assert service.process.wait(20) == 0


@pytest.mark.skipif((os.cpu_count() or 1) == 1, reason="with one core nothing gives way")
def test_merges_of_the_embedded_engine_give_way_to_requests(tmp_path: Path) -> None:
    """An engine that starts its threads from another one of ours would undo it."""
    niceness: dict[str, set[int]] = {}
    with running_service(tmp_path) as service:
        for pid in service.processes.pids():
            for status in Path(f"/proc/{pid}/task").glob("*/stat"):
                name, _, fields = status.read_text().partition("(")[2].rpartition(")")
                niceness.setdefault(name, set()).add(int(fields.split()[16]))
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert niceness["MergeMutate"] == {own + NICENESS}
    assert niceness["tokio-rt-worker"] == {own}


def test_a_killed_worker_comes_back(new_service: Callable[..., Service]) -> None:
    service = new_service()
    service.start()
    [_, victim, *_] = service.processes.pids()
    os.kill(victim, signal.SIGKILL)
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        try:
            if (
                victim not in service.processes.pids()
                and post(service, "/events", event("k")).status == 201
            ):
                break
        except urllib3.exceptions.HTTPError:
            continue
    assert count(service, "k") == 1
    assert service.stop() == 0


def test_a_reload_keeps_the_service(new_service: Callable[..., Service]) -> None:
    service = new_service()
    service.start()
    before = service.processes.pids()[1:]
    assert post(service, "/events", event("hup", id="before")).status == 201
    service.process.send_signal(signal.SIGHUP)
    deadline_s = time.monotonic() + 30
    while set(before) & set(service.processes.pids()) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not set(before) & set(service.processes.pids())
    service.wait_ready(deadline_s - time.monotonic())
    assert post(service, "/events", event("hup", id="after")).status == 201
    assert count(service, "hup") == 2
    assert service.stop() == 0


def test_workers_end_when_their_parent_is_killed(new_service: Callable[..., Service]) -> None:
    service = new_service()
    service.start()
    assert post(service, "/events", event("orphan", id="1")).status == 201
    parent, *workers = service.processes.pids()
    os.kill(parent, signal.SIGKILL)
    service.process.wait(10)
    deadline_s = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    service.start()
    assert count(service, "orphan") == 1
    assert service.stop() == 0


def lives(service: Service) -> bool:
    try:
        return service.request("GET", "/livez").status == 200
    except urllib3.exceptions.HTTPError:
        return False


def test_a_service_without_its_server_takes_events_and_stores_them_when_it_comes(
    tmp_path: Path,
) -> None:
    with running_clickhouse(tmp_path / "server") as server:
        service = Service(tmp_path / "data", "--clickhouse-url", server.create_database())
        server.stop()
        with pytest.raises(RuntimeError, match="not ready"):
            service.start(wait_s=1)
        wait_until(lambda: lives(service))
        ready = service.request("GET", "/readyz")
        assert (ready.status, ready.json()["checks"]["storage"]) == (503, "failed")
        assert service.request("GET", "/events/metrics?event_name=late").status == 503
        assert post(service, "/events", event("late", id="1")).status == 201
        server.start()
        service.wait_ready(60)
        assert metrics(service, "late")["total_count"] == 1
        assert service.stop() == 0
