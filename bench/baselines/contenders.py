"""The ways to get events into ClickHouse that `bench.compare` measures."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import urllib3
import uvloop

from bench.clients.batches import BatchFormat, batch_requests
from bench.clients.http import post, send_all
from bench.harness.processes import Processes, cpu_s, rss_peak_bytes
from bench.harness.service import HOST, free_port, running_service
from bench.harness.storage import Storage
from bench.throughput import CONNECTIONS_BATCH, CONNECTIONS_SINGLE, measure


@dataclass(frozen=True, slots=True)
class Load:
    """What a contender is measured with.

    Attributes:
        lines: the events as JSON texts.
        batch_size: events in a request; 1 for single events.
    """

    lines: Sequence[bytes]
    batch_size: int

    @property
    def connections(self) -> int:
        """The number of connections to use at once."""
        return CONNECTIONS_SINGLE if self.batch_size == 1 else CONNECTIONS_BATCH

    def requests(self, batch_format: BatchFormat = BatchFormat.JSON) -> list[bytes]:
        """Return complete HTTP requests."""
        if self.batch_size == 1:
            return [post("/events", line, host=HOST) for line in self.lines]
        return list(
            batch_requests(self.lines, self.batch_size, host=HOST, batch_format=batch_format)
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one contender.

    Attributes:
        events_per_s: from the first byte sent to the last event queryable.
        cpu_us_per_event: CPU time of the contender, with the engine if it is embedded.
        rss_bytes: peak memory of the contender.
        server_us_per_event: CPU time of the ClickHouse server; 0 if there is none.
        server_rss_bytes: peak memory of the ClickHouse server; 0 if there is none.
    """

    events_per_s: float
    cpu_us_per_event: float
    rss_bytes: int
    server_us_per_event: float
    server_rss_bytes: int

    @property
    def total_us_per_event(self) -> float:
        """The CPU time of contender and server."""
        return self.cpu_us_per_event + self.server_us_per_event


def clickhouse(load: Load, directory: Path, storage: Storage) -> Outcome:
    """Measure one insert of a file by ClickHouse's own JSON reader, without a service."""
    file = directory / "events.ndjson"
    file.write_bytes(b"\n".join(load.lines))
    place = storage.url or str(directory / "data")
    command = [sys.executable, "-m", "bench.baselines.plain_load", str(file), place]
    server_s = cpu_s(storage.server)
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    server_s = cpu_s(storage.server) - server_s
    count, rss_bytes = int(printed[0]), int(printed[3])
    seconds, own_s = float(printed[1]), float(printed[2])
    assert count == len(load.lines), (count, len(load.lines))
    return _outcome(count, seconds, own_s, rss_bytes, server_s, storage.server)


def team(load: Load, directory: Path, storage: Storage, *options: str) -> Outcome:
    """Measure `bench.baselines.plain_team`, with more options for it."""
    requests, server = load.requests(), storage.server
    with _running_team(storage.url or str(directory / "data"), *options) as (port, processes):
        started_s, server_s, own_s = time.perf_counter(), cpu_s(server), processes.cpu_s()
        replies = uvloop.run(
            send_all(iter(requests), host=HOST, port=port, connections=load.connections)
        )
        stored = urllib3.request("GET", f"http://{HOST}:{port}/count").json()["count"]
        seconds = time.perf_counter() - started_s
        own_s, server_s = processes.cpu_s() - own_s, cpu_s(server) - server_s
        rss_bytes = processes.rss_peak_bytes()
    assert set(replies.statuses) == {201}, replies.statuses
    assert stored == len(load.lines), (stored, len(load.lines))
    return _outcome(stored, seconds, own_s, rss_bytes, server_s, server)


def service(
    load: Load,
    directory: Path,
    storage: Storage,
    *,
    batch_format: BatchFormat = BatchFormat.JSON,
    has_wal: bool = True,
) -> Outcome:
    """Measure this service.

    Args:
        load: the events.
        directory: an empty directory.
        storage: an empty storage.
        batch_format: format of the batches.
        has_wal: whether the service has its write-ahead log.
    """
    requests, server = load.requests(batch_format), storage.server
    environment = {"EVENT_STREAM_WAL__ENABLED": str(has_wal)}
    with running_service(directory / "data", *storage.options, environment=environment) as running:
        events, connections = len(load.lines), load.connections
        measured = measure(running, requests, events, connections=connections, server=server)
        return Outcome(
            measured.events_per_s,
            measured.cpu_us_per_event,
            running.processes.rss_peak_bytes(),
            measured.server_us_per_event,
            rss_peak_bytes(server),
        )


def _outcome(
    events: int,
    seconds: float,
    own_s: float,
    rss_bytes: int,
    server_s: float,
    server: Processes | None,
) -> Outcome:
    return Outcome(
        events / seconds,
        own_s / events * 1e6,
        rss_bytes,
        server_s / events * 1e6,
        rss_peak_bytes(server),
    )


@contextmanager
def _running_team(place: str, *options: str) -> Iterator[tuple[int, Processes]]:
    port = free_port()
    command = [sys.executable, "-m", "bench.baselines.plain_team", str(port), place, *options]
    process = subprocess.Popen(command)
    try:
        retries = urllib3.Retry(50, backoff_factor=0.1, backoff_max=1)
        urllib3.PoolManager(retries=retries).request("GET", f"http://{HOST}:{port}/readyz")
        yield port, Processes(process.pid)
    finally:
        process.terminate()
        process.wait()
