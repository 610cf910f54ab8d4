"""A start on a ClickHouse server that is not as it should be: told once, mended as it runs."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.harness.service import Service
from tests.clickhouse.server import ClickHouse, running_clickhouse
from tests.clickhouse.users import PASSWORD, user, users_xml
from tests.end_to_end.api import count, event, post
from tests.faults.harness import wait_until

Start = Callable[[str], Service]


def cli(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "ingest", *command], capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a service that need not become ready, and stops it at the end."""
    started: list[Service] = []

    def start(url: str) -> Service:
        environment = {"EVENT_STREAM_SHUTDOWN_SECONDS": "2"}
        service = Service(tmp_path / "data", "--clickhouse-url", url, environment=environment)
        started.append(service)
        service.launch()
        wait_until(lambda: service.answers("/livez"))
        return service

    yield start
    for service in started:
        if service.running:
            service.stop()


def storage_state(service: Service) -> str:
    return str(service.request("GET", "/readyz").json()["checks"]["storage"])


def paused_attempts(service: Service) -> float:
    prefix = 'event_stream_storage_errors_total{error_class="paused"'
    lines = service.request("GET", "/metrics").data.decode().splitlines()
    [line] = [line for line in lines if line.startswith(prefix)]
    return float(line.rpartition(" ")[2])


def assert_it_waits_for_an_operator(service: Service) -> None:
    wait_until(lambda: storage_state(service) == "paused")
    assert service.request("GET", "/readyz").status == 503
    assert paused_attempts(service) > 0
    assert post(service, "/events", event("kept", id="1")).status == 201
    reply = service.request("GET", "/events/metrics", fields={"event_name": "kept"})
    assert reply.status == 503
    assert "operator" in reply.json()["message"]
    assert "Retry-After" not in reply.headers


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://u:hunter2@ss:w/rd@host:8123/db", "write @ as %40"),
        ("http://u:12#hunter2@host/db", "# as %23"),
        ("http://host:8123/?max_threads=hunter2", "only these query options"),
        ("clickhouse:8123", "http:// or https://"),
    ],
)
def test_a_url_that_can_not_be_used_ends_the_start_with_one_line(
    tmp_path: Path, url: str, says: str
) -> None:
    for command in (["serve"], ["migrate"], ["doctor"], ["dead-letters", "replay"]):
        result = cli(*command, "--data-dir", str(tmp_path), "--clickhouse-url", url)
        assert result.returncode == 2
        [line] = result.stderr.splitlines()
        assert line.startswith("event-stream: Setting clickhouse_url: ")
        assert says in line
        assert "hunter2" not in line


def test_a_wrong_password_is_told_once_and_the_right_one_needs_no_restart(
    tmp_path: Path, start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    users = users_xml(user("app"), user("shop", "another"))
    with running_clickhouse(tmp_path / "server", users_xml=users) as server:
        server.create_database("shop")
        service = start(server.url("shop", user="shop"))
        assert_it_waits_for_an_operator(service)
        written = capfd.readouterr().err
        lines = [line for line in written.splitlines() if "storage does not take rows" in line]
        assert len(lines) == 1
        assert "correct user and password in clickhouse_url" in lines[0]
        assert "error_class=paused" in lines[0]
        assert PASSWORD not in written
        assert "Traceback" not in written
        server.stop()
        server.users_xml = users_xml(user("app"), user("shop"))
        server.start()
        wait_until(lambda: storage_state(service) == "ok")
        assert count(service, "kept") == 1


def test_a_missing_database_is_waited_for(clickhouse: ClickHouse, start: Start) -> None:
    service = start(clickhouse.url("made-later"))
    assert_it_waits_for_an_operator(service)
    clickhouse.create_database("made-later")
    wait_until(lambda: storage_state(service) == "ok")
    assert count(service, "kept") == 1


def test_a_table_of_an_earlier_service_is_told_and_left_alone(
    clickhouse: ClickHouse, start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    url = clickhouse.create_database("earlier")
    clickhouse.sql(
        "CREATE TABLE events (id UUID, name String) ENGINE = MergeTree ORDER BY name",
        database="earlier",
    )
    service = start(url)
    assert_it_waits_for_an_operator(service)
    written = capfd.readouterr().err
    [line] = [line for line in written.splitlines() if "storage does not take rows" in line]
    assert "Table events of database earlier is not one of Event Stream" in line
    assert clickhouse.sql("SHOW TABLES", database="earlier") == "events"
    assert clickhouse.sql("SELECT count() FROM events", database="earlier") == "0"


def test_an_admin_migrates_and_a_lesser_user_serves(
    clickhouse: ClickHouse, start: Start, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`inserter` has SELECT and INSERT on the database `one`, and nothing more."""
    admin = clickhouse.create_database("one")
    data = ("--data-dir", str(tmp_path / "admin"))
    shown = cli("migrate", "--dry-run", "--clickhouse-url", admin, *data)
    assert shown.returncode == 0, shown.stderr
    assert "CREATE TABLE IF NOT EXISTS events\n" in shown.stdout
    assert clickhouse.sql("SHOW TABLES", database="one") == ""
    service = start(clickhouse.url("one", user="inserter"))
    wait_until(lambda: storage_state(service) == "paused")
    assert "run event-stream migrate" in capfd.readouterr().err
    done = cli("migrate", "--clickhouse-url", admin, *data)
    assert done.returncode == 0, done.stderr
    assert cli("migrate", "--clickhouse-url", admin, *data).stdout == "nothing to do\n"
    wait_until(lambda: storage_state(service) == "ok")
    assert post(service, "/events", event("once", id="same")).status == 201
    assert count(service, "once") == 1
    written = ""

    def unchecked() -> int:
        nonlocal written
        written += capfd.readouterr().err
        return written.count("could not check whether storage has lost parts")

    wait_until(lambda: unchecked() == 1)  # the check comes a moment after storage is opened
    assert service.stop() == 0
    # What needs a right that is missing is told; the ids of before are known all the same.
    service.start()
    again = post(service, "/events", event("once", id="same"))
    assert again.json()["duplicate"] is True
    assert count(service, "once") == 1
    wait_until(lambda: unchecked() == 2)  # once a start
    assert "recent ids could not be read" not in written
