"""A running service notices that the server lost a part at its restart, and stores it again."""

from pathlib import Path

import pytest

from bench.harness.service import Service
from tests.clickhouse.server import ClickHouse, running_clickhouse
from tests.end_to_end.api import books, count, event, post
from tests.faults.harness import wait_until

EVENTS = 1_500
NOTICED_S_MAX = 40


def part_of_events(server: ClickHouse, database: str) -> Path:
    """Return the directory of the largest part of the events table."""
    path = server.sql(
        "SELECT path FROM system.parts WHERE active AND table = 'events'"
        f" AND database = '{database}' ORDER BY rows DESC LIMIT 1"
    )
    return Path(path)


@pytest.mark.parametrize("busy", [True, False], ids=["while events come", "while nothing happens"])
def test_a_part_that_the_server_lost_at_its_restart_is_stored_again(
    tmp_path: Path, busy: bool
) -> None:
    with running_clickhouse(tmp_path / "server") as server:
        server.create_database("shop")
        service = Service(tmp_path / "data", "--clickhouse-url", server.url("shop"))
        service.start()
        events = [event("kept", id=str(n), timestamp=1_705_312_800 + n) for n in range(EVENTS)]
        assert post(service, "/events/batch", events).status == 201
        assert count(service, "kept") == EVENTS
        part = part_of_events(server, "shop")
        server.stop()
        (part / "columns.txt").write_text("not what it was")
        if busy:
            assert post(service, "/events", event("other")).status == 201
            wait_until(lambda: service.request("GET", "/readyz").status == 503)
        server.start()
        assert "broken" in server.sql("SELECT reason FROM system.detached_parts")
        wait_until(lambda: count(service, "kept") == EVENTS, NOTICED_S_MAX)
        assert count(service, "other") == int(busy)
        # The part is still detached, but must not be stored once more.
        before = books(service)["received_total"]
        assert post(service, "/events/batch", events).status == 201
        assert count(service, "kept") == EVENTS
        assert books(service)["received_total"] == before + EVENTS
        assert service.stop() == 0


def test_a_server_that_hangs_is_noticed_long_before_the_time_out(tmp_path: Path) -> None:
    with running_clickhouse(tmp_path / "server") as server:
        service = Service(tmp_path / "data", "--clickhouse-url", server.create_database())
        service.start()
        assert post(service, "/events", event("before")).status == 201
        assert count(service, "before") == 1
        server.pause()
        try:
            assert post(service, "/events", event("meanwhile")).status == 201
            # The insert starts after 1 s, and counts as stalled after 10 s more. Its timeout is
            # 30 s.
            wait_until(lambda: service.request("GET", "/readyz").status == 503, 15)
            assert post(service, "/events", event("meanwhile")).status == 201
        finally:
            server.resume()
        wait_until(lambda: service.request("GET", "/readyz").status == 200)
        assert count(service, "meanwhile") == 2
        assert service.stop() == 0
