"""Measure events per second from end to end, with a client on the same cores.

    uv run python -m bench.throughput

Starts a service on embedded storage, or on an empty database of a ClickHouse server. Posts
generated events in batches and one by one, and waits until the last one is queryable. Fails unless
every event is counted exactly once. Each `--format` gets its own service and the same events.
"""

import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
import uvloop

from bench.clients.batches import BatchFormat, batch_requests
from bench.clients.generate import generate
from bench.clients.http import Replies, post, send_all
from bench.harness.processes import Processes, cpu_s
from bench.harness.service import HOST, Service, running_service
from bench.harness.storage import Storage, StorageKind, running_storage

START = datetime(2024, 1, 1, tzinfo=UTC)
CONNECTIONS_BATCH, CONNECTIONS_SINGLE = 4, 512


@dataclass(frozen=True, slots=True)
class Measured:
    """The result of one measurement.

    Attributes:
        events_per_s: from the first byte sent to the last event queryable.
        requests_per_s: from the first byte sent to the last response.
        p50_ms: median time of a request.
        p99_ms: time within which 99 % of the requests were answered.
        cpu_us_per_event: CPU time of the service.
        server_us_per_event: CPU time of the ClickHouse server that was started for it, 0 if none.
    """

    events_per_s: float
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us_per_event: float
    server_us_per_event: float

    @property
    def total_us_per_event(self) -> float:
        """The CPU time of service and server."""
        return self.cpu_us_per_event + self.server_us_per_event


def measure(
    service: Service,
    requests: list[bytes],
    events: int,
    *,
    connections: int,
    server: Processes | None = None,
) -> Measured:
    """Send `requests`, wait until the last event is queryable, and return what was measured.

    Args:
        service: a running service.
        requests: complete HTTP requests.
        events: number of events in all requests.
        connections: number of connections to use at once.
        server: the ClickHouse server of the service, if its CPU time is measured, too.

    Raises:
        RuntimeError: a request was not accepted, or the query failed.
    """
    started_s = time.perf_counter()
    service_s, server_s = service.processes.cpu_s(), cpu_s(server)
    replies: Replies = uvloop.run(
        send_all(iter(requests), host=HOST, port=service.port, connections=connections)
    )
    sent_s = time.perf_counter() - started_s
    stored_count(service, "page_view")  # flushes
    seconds = time.perf_counter() - started_s
    if set(replies.statuses) != {201}:
        raise RuntimeError(f"Not everything was accepted: {replies.statuses}")
    took = sorted(replies.seconds)
    return Measured(
        events / seconds,
        len(requests) / sent_s,
        took[len(took) // 2] * 1000,
        took[len(took) * 99 // 100] * 1000,
        (service.processes.cpu_s() - service_s) / events * 1e6,
        (cpu_s(server) - server_s) / events * 1e6,
    )


def stored_count(service: Service, name: str) -> int:
    """Flush, and return the number of events with that name.

    Raises:
        RuntimeError: the query failed.
    """
    reply = service.request(
        "GET", "/events/metrics", fields={"event_name": name, "consistency": "flushed"}
    )
    result: dict[str, Any] = reply.json()
    if reply.status != 200:
        raise RuntimeError(f"The service answered {reply.status}: {result}")
    return int(result["total_count"])


def main(
    events: Annotated[int, typer.Option(help="Events sent in batches")] = 1_000_000,
    batch_size: Annotated[int, typer.Option(help="Events in a batch")] = 1_000,
    singles: Annotated[int, typer.Option(help="Events sent one by one")] = 50_000,
    ids: Annotated[bool, typer.Option(help="Whether the events have their own ids")] = True,
    formats: Annotated[
        list[BatchFormat] | None,
        typer.Option("--format", help="Format of the batches; repeat it to compare (default json)"),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Workers of the service")] = None,
    storage: Annotated[
        StorageKind, typer.Option(help="Storage of the service; server starts a ClickHouse server")
    ] = StorageKind.EMBEDDED,
    clickhouse_url: Annotated[
        str | None, typer.Option(help="Empty database of a ClickHouse server that runs already")
    ] = None,
) -> None:
    """Measure the service and print the results."""
    formats = formats or [BatchFormat.JSON]
    if clickhouse_url and len(formats) > 1:
        raise typer.BadParameter("Each format needs an empty database", param_hint="--format")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    options = ["--workers", str(workers)] if workers else []
    report = _reporter()
    for batch_format in formats:
        sent: dict[str, int] = {}
        source = _counted(generate(events + singles, seed=1, start=START, days=31, ids=ids), sent)
        some = islice(source, events)
        batches = list(batch_requests(some, batch_size, host=HOST, batch_format=batch_format))
        ones = [post("/events", event, host=HOST) for event in source]
        with (
            tempfile.TemporaryDirectory() as name,
            running_storage(storage, Path(name) / "clickhouse", clickhouse_url) as place,
            running_service(Path(name) / "data", *options, *place.options) as service,
        ):
            for label, requests, count, connections in (
                (f"batches, {batch_format}", batches, events, CONNECTIONS_BATCH),
                ("one by one, json", ones, singles, CONNECTIONS_SINGLE),
            ):
                if requests:
                    measured = measure(
                        service, requests, count, connections=connections, server=place.server
                    )
                    report(label, measured)
            _check_counts(service, sent)
            _print_memory(service, place)


def _check_counts(service: Service, sent: dict[str, int]) -> None:
    for name, count in sent.items():
        stored = stored_count(service, name)
        if stored != count:
            raise SystemExit(f"{name}: sent {count}, counted {stored}")
    print(f"all {sum(sent.values()):,} counted exactly")


def _print_memory(service: Service, storage: Storage) -> None:
    for label, processes in (("service", service.processes), ("server", storage.server)):
        if processes:
            print(f"peak RSS of the {label}: {processes.rss_peak_bytes() / 2**20:,.0f} MiB")


def _counted(events: Iterator[bytes], sent: dict[str, int]) -> Iterator[bytes]:
    for event in events:
        name = orjson.loads(event)["name"]
        sent[name] = sent.get(name, 0) + 1
        yield event


def _reporter() -> Callable[[str, Measured], None]:
    print(
        f"{'':20} {'events/s':>10} {'requests/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'CPU µs':>8}"
        f" {'server':>8} {'both':>8}"
    )

    def report(label: str, m: Measured) -> None:
        print(
            f"{label:20} {m.events_per_s:10,.0f} {m.requests_per_s:10,.0f}"
            f" {m.p50_ms:8.1f} {m.p99_ms:8.1f} {m.cpu_us_per_event:8.1f}"
            f" {m.server_us_per_event:8.1f} {m.total_us_per_event:8.1f}",
            flush=True,
        )

    return report


if __name__ == "__main__":
    typer.run(main)
