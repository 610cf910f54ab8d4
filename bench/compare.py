"""Compare this service with other ways to get the same events into the same engine.

    uv run python -m bench.compare

- clickhouse: one insert by ClickHouse's own JSON reader, without a service
- team: FastAPI, pydantic and one insert for each request (bench/baselines/plain_team.py)
- team async: the same with ClickHouse's async_insert
- service: this service
- without WAL: this service without its write-ahead log

The contenders run in turns on one machine. Each is measured until the last event is queryable.
Prints events per second by round. Also prints the ratio of this service to each contender, with its
range over the rounds.
"""

import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
import urllib3
import uvloop

from bench.clients.generate import generate
from bench.clients.http import batch_body, post, send_all
from bench.harness.service import HOST, free_port, running_service
from bench.throughput import CONNECTIONS_BATCH, CONNECTIONS_SINGLE, START, measure

Rate = Callable[[list[bytes], int, Path], float]


def main(
    events: Annotated[int, typer.Option(help="Events in a round")] = 200_000,
    batch_size: Annotated[
        int, typer.Option(help="Events in a request; 1 for single events")
    ] = 1_000,
    rounds: Annotated[int, typer.Option(help="Rounds for each contender")] = 3,
    share: Annotated[float, typer.Option(help="Share of the events for slow contenders")] = 0.05,
) -> None:
    """Measure all contenders in turns."""
    print(f"{platform.machine()}, Python {platform.python_version()}, {events:,} events")
    lines = list(islice(generate(events, seed=1, start=START, days=1), events))
    few = lines[: max(batch_size, int(events * share))]
    rates: dict[str, list[float]] = {}
    for number in range(rounds):
        for label, measured, chosen in _contenders(lines, few):
            with tempfile.TemporaryDirectory() as directory:
                rate = measured(chosen, batch_size, Path(directory))
            rates.setdefault(label, []).append(rate)
            print(f"round {number + 1} {label:12} {rate:12,.0f} events/s", flush=True)
    for label, own in rates.items():
        ratios = [ours / theirs for ours, theirs in zip(rates["service"], own, strict=True)]
        print(
            f"service / {label:12} {statistics.median(ratios):8.2f}"
            f" ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def _contenders(lines: list[bytes], few: list[bytes]) -> Iterator[tuple[str, Rate, list[bytes]]]:
    yield "clickhouse", _clickhouse, lines
    yield "team", lambda *a: _team(*a), few
    yield "team async", lambda *a: _team(*a, "--async-insert"), few
    yield "service", lambda *a: _service(*a, has_wal=True), lines
    yield "without WAL", lambda *a: _service(*a, has_wal=False), lines


def _clickhouse(lines: list[bytes], batch_size: int, directory: Path) -> float:
    file = directory / "events.ndjson"
    file.write_bytes(b"\n".join(lines))
    command = [
        sys.executable,
        "-m",
        "bench.baselines.plain_load",
        str(file),
        str(directory / "data"),
    ]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert int(printed[0]) == len(lines)
    return len(lines) / float(printed[1])


def _team(lines: list[bytes], batch_size: int, directory: Path, *options: str) -> float:
    with _running_team(directory / "data", *options) as port:
        started_s = time.perf_counter()
        replies = uvloop.run(
            send_all(
                iter(_requests(lines, batch_size)),
                host=HOST,
                port=port,
                connections=_connections(batch_size),
            )
        )
        stored = urllib3.request("GET", f"http://{HOST}:{port}/count").json()["count"]
        seconds = time.perf_counter() - started_s
    assert set(replies.statuses) == {201}, replies.statuses
    assert stored == len(lines), (stored, len(lines))
    return len(lines) / seconds


def _service(lines: list[bytes], batch_size: int, directory: Path, *, has_wal: bool) -> float:
    environment = {"EVENT_STREAM_WAL__ENABLED": str(has_wal)}
    with running_service(directory / "data", environment=environment) as service:
        requests = _requests(lines, batch_size)
        connections = _connections(batch_size)
        return measure(service, requests, len(lines), connections=connections).events_per_s


def _requests(lines: list[bytes], batch_size: int) -> list[bytes]:
    if batch_size == 1:
        return [post("/events", line, host=HOST) for line in lines]
    return [
        post(
            "/events/batch",
            batch_body(lines[at : at + batch_size]),
            host=HOST,
        )
        for at in range(0, len(lines), batch_size)
    ]


def _connections(batch_size: int) -> int:
    return CONNECTIONS_SINGLE if batch_size == 1 else CONNECTIONS_BATCH


@contextmanager
def _running_team(data_dir: Path, *options: str) -> Iterator[int]:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "bench.baselines.plain_team",
        str(port),
        str(data_dir),
        *options,
    ]
    process = subprocess.Popen(command)
    try:
        retries = urllib3.Retry(50, backoff_factor=0.1, backoff_max=1)
        urllib3.PoolManager(retries=retries).request("GET", f"http://{HOST}:{port}/readyz")
        yield port
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    typer.run(main)
