"""The real Prometheus scrapes the service; rules and dashboard have something to show."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3

from bench.harness.service import Service, free_port
from tests.deploy.programs import require
from tests.deploy.test_files import DEPLOY
from tests.end_to_end.api import event, post
from tests.end_to_end.test_access import create
from tests.faults.harness import wait_until

DASHBOARD = DEPLOY / "grafana" / "dashboards" / "event-stream.json"


class Prometheus:
    def __init__(self, port: int) -> None:
        self._ready_url = f"http://127.0.0.1:{port}/-/ready"
        self._url = f"http://127.0.0.1:{port}/api/v1/query"
        self._http = urllib3.PoolManager(retries=False, timeout=10)

    def is_ready(self) -> bool:
        try:
            return self._http.request("GET", self._ready_url).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        reply = self._http.request("GET", self._url, fields={"query": expression})
        assert reply.status == 200, (expression, reply.data)
        found: list[dict[str, Any]] = reply.json()["data"]["result"]
        return found

    def value(self, expression: str) -> float:
        """Of the one series there is; -1 when there is none yet."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else -1


@contextmanager
def prometheus(service: Service, key: str, directory: Path) -> Iterator[Prometheus]:
    """Configured as deploy/ has it, but for where the service and the key are, and in haste."""
    (directory / "rules").mkdir()
    for rules in (DEPLOY / "prometheus" / "rules").glob("*.yml"):
        (directory / "rules" / rules.name).write_text(rules.read_text())
    (directory / "key").write_text(key + "\n")
    config = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    config = config.replace("event-stream:8080", f"127.0.0.1:{service.port}")
    config = config.replace("/secrets/prometheus.key", str(directory / "key"))
    config = config.replace("interval: 5s", "interval: 1s").replace("interval: 15s", "interval: 1s")
    (directory / "prometheus.yml").write_text(config)
    port = free_port()
    line = [require("prometheus"), f"--config.file={directory / 'prometheus.yml'}"]
    line += [f"--storage.tsdb.path={directory / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}"]
    process = subprocess.Popen(line, stderr=subprocess.DEVNULL)
    try:
        yield Prometheus(port)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def scraped(
    new_service: Callable[..., Service], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, Prometheus, dict[str, str]]]:
    """A service after some load, events and questions, good and bad, and one who scrapes it."""
    directory = tmp_path_factory.mktemp("prometheus")
    key = create(directory, "ingest", "query", "admin")
    headers = {"Authorization": f"Bearer {key}"}
    service = new_service(EVENT_STREAM_KEYS__FILE=str(directory / "keys.json"))
    service.start()
    with prometheus(service, key, directory) as server:
        wait_until(server.is_ready)
        wait_until(lambda: server.value("up") == 1)
        for number in range(40):
            service.http.clear()  # connections stay with a worker, so make new ones
            events = [event("load", id=f"{number}-{i}") for i in range(50)]
            assert post(service, "/events/batch", events, **headers).status == 201
            assert post(service, "/events", events[0], **headers).status == 201  # a duplicate
            assert post(service, "/events", event(""), **headers).status == 400
            path = f"/events/metrics?event_name=load{number % 3}"
            assert service.request("GET", path, headers=headers).status == 200
            time.sleep(0.1)
        path = "/events/metrics?event_name=load&consistency=flushed"
        assert service.request("GET", path, headers=headers).json()["total_count"] == 2_000
        yield service, server, headers


Scraped = tuple[Service, Prometheus, dict[str, str]]


def test_the_sums_of_all_workers_are_the_ledger(scraped: Scraped) -> None:
    service, server, headers = scraped
    books = service.request("GET", "/debug/ledger", headers=headers).json()["total"]
    assert books["stored"] == 2_000
    assert books["duplicate"] == books["rejected"] == 40
    for name in ("received", "accepted", "stored", "duplicate", "rejected", "refused", "lost"):
        expression = f"sum(event_stream_events_{name}_total)"
        wait_until(lambda e=expression, n=name: server.value(e) == books[n])
    assert server.value("sum(event_stream_events_in_flight)") == 0


def test_the_recorded_books_balance(scraped: Scraped) -> None:
    _, server, _ = scraped
    wait_until(lambda: server.value("event_stream:ledger:imbalance") == 0)
    wait_until(lambda: server.value("event_stream:events_accepted:rate1m") > 0)
    assert server.query("ALERTS{alertname!~'EventStreamSlow'}") == []


def panels() -> list[tuple[str, str]]:
    """(title of the panel, expression)."""
    return [
        (panel["title"], target["expr"])
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel.get("targets", [])
    ]


def test_every_query_of_the_dashboard_has_data(scraped: Scraped) -> None:
    _, server, _ = scraped
    assert len(panels()) > 20
    for title, expression in panels():
        expression = expression.replace("$instance", ".*")
        if "storage_errors" in expression:
            # There were none, which shows as no series.
            server.query(expression)
            continue
        wait_until(lambda e=expression: bool(server.query(e)))
        assert server.query(expression), title


def test_without_its_key_nothing_is_scraped(scraped: Scraped) -> None:
    service, _, _ = scraped
    assert service.request("GET", "/metrics").status == 401
