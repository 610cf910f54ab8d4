"""While storage is down, slow or failing, events are still acknowledged, and none is lost."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.harness.service import Service, running_service
from storage.errors import PAUSING_CODES
from tests.clickhouse.fault_proxy import FAULTS, FaultProxy
from tests.clickhouse.server import ClickHouse, running_clickhouse
from tests.end_to_end.api import books, count, event, post
from tests.faults.harness import (
    Load,
    assert_nothing_lost_or_doubled,
    stored_ids,
    wait_until,
)

CODES = ("241", "242", "243", "252", "159", "999")
HTTP_STATUSES = ("http-502", "http-503", "http-429")
PAUSES = ("60", "16", "516")


def errors(service: Service) -> dict[str, float]:
    """Return the number of failed attempts, by error class."""
    prefix = 'event_stream_storage_errors_total{error_class="'
    return {
        line.removeprefix(prefix).partition('"')[0]: float(line.rpartition(" ")[2])
        for line in service.request("GET", "/metrics").data.decode().splitlines()
        if line.startswith(prefix)
    }


def test_inserts_that_fail_in_every_way_are_tried_again(
    tmp_path: Path, clickhouse: ClickHouse
) -> None:
    url = clickhouse.create_database()
    with FaultProxy(clickhouse.http_port) as proxy:
        service = Service(
            tmp_path,
            *("--clickhouse-url", proxy.through(url)),
            environment={
                "EVENT_STREAM_FLUSH__SECONDS": "0.2",
                "EVENT_STREAM_CLICKHOUSE_TIMEOUT_SECONDS": "2",
            },
        )
        service.start()
        proxy.delay_s = 3  # longer than the timeout: storage does an insert that counts as failed
        with Load(service, seed=1, threads=2, repeats=2) as load:
            for fault in (*CODES, *FAULTS, *HTTP_STATUSES, *PAUSES):
                kind = "paused" if fault in PAUSES else "transient"
                before = errors(service)
                proxy.fault = fault
                wait_until(lambda: errors(service)[kind] > before[kind])  # noqa: B023
                # Events are still acknowledged, but the service is not ready.
                load.wait_for(len(load.acknowledged) + 50)
                assert service.request("GET", "/readyz").status == 503, fault
                proxy.fault = ""
                wait_until(lambda: service.request("GET", "/readyz").status == 200)
        assert load.refused == 0
        total = books(service)
        assert total["dead_lettered_total"] == total["rejected_total"] == total["lost_total"] == 0
        assert_nothing_lost_or_doubled(service, tmp_path, url, load)


def test_storage_that_is_down_for_long_costs_neither_events_nor_memory(tmp_path: Path) -> None:
    environment = {"EVENT_STREAM_BUFFER__BYTES": "1000000", "EVENT_STREAM_FLUSH__ROWS": "5000"}
    environment["EVENT_STREAM_WAL__BYTES"] = "30000000"
    environment["EVENT_STREAM_WAL__SEGMENT_BYTES"] = "1000000"
    with running_clickhouse(tmp_path / "server") as server:
        url = server.create_database()
        service = Service(tmp_path, "--clickhouse-url", url, environment=environment)
        service.start()
        with Load(service, seed=1) as load:
            load.wait_for(500)
            server.kill()
            # The buffer spills. Then the WAL is full, and events are refused with Retry-After.
            wait_until(lambda: load.refused > 0)
            scrape = service.request("GET", "/metrics").data.decode()
            [held] = [
                ln for ln in scrape.splitlines() if ln.startswith("event_stream_buffer_bytes")
            ]
            assert float(held.rpartition(" ")[2]) <= 1_000_000
            server.start()
            wait_until(lambda: service.request("GET", "/readyz").status == 200)
            load.wait_for(len(load.acknowledged) + 500)
        wait_until(lambda: books(service)["in_flight"] == 0)
        assert_nothing_lost_or_doubled(service, tmp_path, url, load)


@pytest.mark.parametrize("code", sorted(PAUSING_CODES))
def test_a_pausing_error_rejects_no_row(code: int) -> None:
    from storage.errors import PausedError, classify

    assert isinstance(classify("", code), PausedError)


def test_a_row_that_storage_refuses_becomes_a_dead_letter_that_can_be_replayed(
    tmp_path: Path, clickhouse: ClickHouse
) -> None:
    url = clickhouse.create_database("dead_letters")
    arguments = ("--clickhouse-url", url)

    def alter_events(change: str) -> None:
        clickhouse.sql(f"ALTER TABLE events {change}", database="dead_letters")

    with running_service(tmp_path, *arguments) as service:
        alter_events("ADD CONSTRAINT sane CHECK user_id != 'poison'")
        events = [event("mixed", id=str(i), user_id="u") for i in range(1000)]
        events[777]["user_id"] = "poison"
        assert post(service, "/events/batch", events).status == 201
        assert count(service, "mixed") == 999
        assert books(service)["dead_lettered_total"] == 1
        assert service.request("GET", "/readyz").status == 200
    cli = [sys.executable, "-m", "ingest", "dead-letters"]
    data = ["--data-dir", str(tmp_path)]

    def run(*command: str) -> str:
        result = subprocess.run([*cli, *command, *data], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return result.stdout

    heading, listed = run("list").splitlines()
    assert heading.startswith("name ")
    assert " 469 Constraint `sane`" in listed
    assert len(listed) < 160
    assert '"id": "777"' in run("show")
    assert "would insert 1 rows" in run("replay", "--dry-run", *arguments)
    assert "would be discarded" in run("discard", "--dry-run")
    alter_events("DROP CONSTRAINT sane")
    assert "1 rows stored" in run("replay", *arguments)
    assert len(set(stored_ids(url))) == 1000
    assert run("show") == ""
