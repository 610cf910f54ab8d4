"""Send events at a constant rate, and show whether anything grows, slows down or falls behind.

    uv run python -m bench.sustained --rate 40000 --minutes 30

Sends each request when it is due, even if the service is too slow. Prints latencies, CPU, memory,
rows and parts of the table for each minute. Fails if an event was lost or counted twice.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
import uvloop

from bench.clients.http import Replies, batch_body, post, send_all
from bench.clients.pool import EventPool
from bench.harness.machine import describe
from bench.harness.service import HOST, Service, running_service
from bench.throughput import START

POOL_EVENTS = 50_000
NAME = "sustained"


@dataclass(frozen=True, slots=True)
class Minute:
    """The measurements of one minute.

    Attributes:
        rows: events acknowledged since the start.
        p50_ms: median latency, from when the request was due.
        p99_ms: 99th percentile of the latency.
        p999_ms: 99.9th percentile of the latency.
        cpu_us_per_event: CPU time of the service.
        rss_bytes: memory of the service at the end of the minute.
        parts: parts of the tables on disk at the end of the minute.
        backlog: events not stored yet at the end of the minute.
    """

    rows: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    cpu_us_per_event: float
    rss_bytes: int
    parts: int
    backlog: int

    def cells(self) -> list[str]:
        """Return the cells of the table's row, without the number of the minute."""
        times = [f"{ms:.0f}" for ms in (self.p50_ms, self.p99_ms, self.p999_ms)]
        cpu, rss = f"{self.cpu_us_per_event:.1f}", f"{self.rss_bytes / 2**20:,.0f}"
        return [f"{self.rows / 1e6:.1f}", *times, cpu, rss, str(self.parts), f"{self.backlog:,}"]


def main(
    rate: Annotated[int, typer.Option(help="Events per second")] = 40_000,
    minutes: Annotated[int, typer.Option(help="Duration in minutes")] = 30,
    batch_size: Annotated[
        int, typer.Option(help="Events in a request; 1 for single events")
    ] = 1_000,
    connections: Annotated[int, typer.Option(help="Connections that are used at once")] = 16,
    days: Annotated[int, typer.Option(help="Number of days that the events are spread over")] = 31,
) -> None:
    """Send, print each minute, and compare the last third with the first."""
    print("\n".join(f"- {name}: {text}" for name, text in describe().items()))
    print(f"\n{rate:,} events/s in requests of {batch_size:,}, for {minutes} minutes\n")
    heads = ("minute", "million rows", "p50 ms", "p99 ms", "p99.9 ms", "CPU µs", "RSS MiB", "parts")
    print(_row(*heads, "backlog"))
    print(_row(*["--:"] * (len(heads) + 1)))
    pool = EventPool(POOL_EVENTS, start=START, days=days, name=NAME)
    measured: list[Minute] = []
    with tempfile.TemporaryDirectory() as data_dir, running_service(Path(data_dir)) as service:
        for number in range(1, minutes + 1):
            before = measured[-1].rows if measured else 0
            minute = _minute(service, pool, before, rate, batch_size, connections)
            measured.append(minute)
            print(_row(str(number), *minute.cells()), flush=True)
        stored = _stored(service, pool.name)
    print(f"\nacknowledged {measured[-1].rows:,}, counted {stored:,}\n")
    for field in ("p50_ms", "p99_ms", "cpu_us_per_event", "rss_bytes", "parts"):
        print(f"- {field}, last third against first: {_drift(measured, field):.2f}")
    raise typer.Exit(0 if stored == measured[-1].rows else 1)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _minute(
    service: Service, pool: EventPool, rows: int, rate: int, batch_size: int, connections: int
) -> Minute:
    requests = round(rate * 60 / batch_size)
    cpu_s = service.processes.cpu_s()
    replies: Replies = uvloop.run(
        send_all(
            _requests(pool, requests, batch_size),
            host=HOST,
            port=service.port,
            connections=connections,
            per_s=rate / batch_size,
        )
    )
    cpu_s = service.processes.cpu_s() - cpu_s
    if set(replies.statuses) != {201}:
        raise SystemExit(f"Not everything was accepted: {replies.statuses}")
    took_ms = sorted(seconds * 1000 for seconds in replies.seconds)
    events = requests * batch_size
    return Minute(
        rows + events,
        took_ms[len(took_ms) // 2],
        took_ms[len(took_ms) * 99 // 100],
        took_ms[len(took_ms) * 999 // 1000],
        cpu_s / events * 1e6,
        service.processes.rss_bytes(),
        _parts(service),
        _ledger(service)["in_flight"],
    )


def _requests(pool: EventPool, count: int, batch_size: int) -> Iterator[bytes]:
    for _ in range(count):
        if batch_size == 1:
            yield post("/events", pool.take(1)[0], host=HOST)
        else:
            yield post("/events/batch", batch_body(pool.take(batch_size)), host=HOST)


def _ledger(service: Service) -> dict[str, Any]:
    total: dict[str, Any] = orjson.loads(service.request("GET", "/debug/ledger").data)["total"]
    return total


def _parts(service: Service) -> int:
    return len(list((service.data_dir / "clickhouse").glob("store/*/*/*/columns.txt")))


def _stored(service: Service, name: str) -> int:
    deadline_s = time.monotonic() + 600
    fields = {"event_name": name, "consistency": "flushed"}
    while time.monotonic() < deadline_s:
        reply = service.request("GET", "/events/metrics", fields=fields)
        if reply.status == 200:
            return int(reply.json()["total_count"])
        time.sleep(5)
    raise SystemExit(f"The service answered {reply.status}: {reply.data!r}")


def _drift(minutes: list[Minute], field: str) -> float:
    third = max(1, len(minutes) // 3)
    first, last = (
        statistics.median(float(getattr(m, field)) for m in some)
        for some in (minutes[:third], minutes[-third:])
    )
    return last / max(first, 1e-9)


if __name__ == "__main__":
    typer.run(main)
