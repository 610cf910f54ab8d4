"""Measure queries over 20,000,000 events, alone and while events come in.

    uv run python -m bench.queries --data-dir /var/tmp/twenty-million

Builds the events through the service unless the directory has them. Sends each query 20 times with
the cache off. Then sends the queries with a bound again while 20,000 events per second are posted.
"""

import multiprocessing
import os
import platform
import re
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Annotated, Any

import typer
import urllib3
import uvloop

from bench.clients.generate import DAY_S, generate
from bench.clients.http import batch_body, post, send_all
from bench.harness.service import HOST, Service, running_service
from bench.throughput import CONNECTIONS_BATCH, START

BATCH = 1_000
DAYS = 31
SENDERS = 8
MONTH = {"from": "2024-01-01", "to": "2024-01-31"}
ENDPOINTS: dict[str, tuple[str, dict[str, str], int]] = {
    # label: path, parameters, bound of the median in ms (0: no bound)
    "one day, hourly": (
        "metrics",
        {"event_name": "user_engagement", "group_by": "hourly", "from": "2024-01-15",
         "to": "2024-01-15"},
        60,
    ),
    "one name over the month": ("metrics", {"event_name": "user_engagement", **MONTH}, 500),
    "the month from the rollup": (
        "metrics",
        {"event_name": "user_engagement", "approximate": "true", **MONTH},
        50,
    ),
    "the month by day from the rollup": (
        "metrics",
        {"event_name": "user_engagement", "approximate": "true", "group_by": "daily", **MONTH},
        50,
    ),
    # Other common queries, without a bound.
    "the busiest name over the month": ("metrics", {"event_name": "page_view", **MONTH}, 0),
    "top 10 countries of one name": (
        "top", {"event_name": "user_engagement", "dimension": "country", **MONTH}, 0
    ),
    "funnel of three steps, one day": (
        "funnel",
        {"step": "view_item", "from": "2024-01-15", "to": "2024-01-15"},
        0,
    ),
    "100 newest events of one day": ("", {"from": "2024-01-15", "to": "2024-01-15"}, 0),
}  # fmt: skip
FUNNEL = [("step", "add_to_cart"), ("step", "purchase")]


def main(
    data_dir: Annotated[
        Path | None, typer.Option(help="Directory to keep the events in and to use again")
    ] = None,
    events: Annotated[int, typer.Option(help="Events to build")] = 20_000_000,
    times: Annotated[int, typer.Option(help="How often each query is sent")] = 20,
    rate: Annotated[int, typer.Option(help="Events per second that are posted meanwhile")] = 20_000,
) -> None:
    """Build the events, measure, and exit with 1 if a median is over its bound."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    environment = {"EVENT_STREAM_CACHE__CLOSED_SECONDS": "0", "EVENT_STREAM_DEDUP__IDS": "100000"}
    with tempfile.TemporaryDirectory() as temporary:
        where = data_dir or Path(temporary)
        with running_service(where, environment=environment) as service:
            _build(service, events)
            _wait_until_quiet(service)
            alone = _measure(service, list(ENDPOINTS), times)
            with _posting(service, rate):
                busy = _measure(service, [n for n, (_, _, ms) in ENDPOINTS.items() if ms], times)
    print(f"{'median of ' + str(times):34} {'alone ms':>10} {'posting ms':>10} {'ratio':>6}")
    slow = []
    for label, (_, _, bound_ms) in ENDPOINTS.items():
        print(f"{label:34} {alone[label]:10.1f}", end="")
        if bound_ms:
            ratio = busy[label] / alone[label]
            print(f" {busy[label]:10.1f} {ratio:6.2f}", end="")
            if alone[label] > bound_ms or ratio > 2:
                slow.append(label)
        print()
    if slow:
        print(f"too slow: {', '.join(slow)}")
    raise typer.Exit(1 if slow else 0)


def _build(service: Service, events: int) -> None:
    have = int(_query(service, "top", {"limit": "1", "consistency": "flushed"})["total_count"])
    print(f"{have:,} of {events:,} events are there")
    if have >= events // DAYS * DAYS:
        return
    started_s = time.perf_counter()
    requests = _requests("built", events // DAYS, range(DAYS))
    replies = uvloop.run(
        send_all(requests, host=HOST, port=service.port, connections=CONNECTIONS_BATCH)
    )
    if set(replies.statuses) != {201}:
        raise SystemExit(f"Not everything was accepted: {replies.statuses}")
    count = _query(service, "top", {"limit": "1", "consistency": "flushed"})["total_count"]
    if count < events // DAYS * DAYS:
        raise SystemExit(f"sent {events:,}, counted {count:,}")
    print(f"built in {time.perf_counter() - started_s:,.0f} s")


def _wait_until_quiet(service: Service) -> None:
    """Wait until storage has merged the new parts, which takes minutes."""
    deadline_s = time.monotonic() + 900
    quiet = 0
    while quiet < 3 and time.monotonic() < deadline_s:
        cpu_s = service.processes.cpu_s()
        time.sleep(2)
        quiet = quiet + 1 if service.processes.cpu_s() - cpu_s < 0.3 else 0


def _requests(
    prefix: str, events: int, days: Iterable[int], start: datetime = START
) -> Iterator[bytes]:
    """Yield requests with `events` events for each day, day by day, as they would come in.

    Every day has the events of the first day, but with other ids, users and times.
    """
    source = generate(events, seed=1, start=start, days=1)
    templates: list[bytes] = []
    while batch := list(islice(source, BATCH)):
        templates.append(batch_body(batch))
    for number, day in enumerate(days):
        mark = f"{prefix}-{number}-".encode()
        for template in templates:
            body = template.replace(b'{"id":"', b'{"id":"' + mark)
            if day:
                for field in (b'"user_pseudo_id":"', b'"user_id":"'):
                    body = body.replace(field, field + mark)
                body = _later(body, day)
            yield post("/events/batch", body, host=HOST)


def _later(body: bytes, days: int) -> bytes:
    def shifted(match: re.Match[bytes]) -> bytes:
        return b'timestamp":%d' % (int(match[1]) + days * DAY_S * 1000)

    return re.sub(rb'timestamp":(\d{13})', shifted, body)


def _measure(service: Service, labels: list[str], times: int) -> dict[str, float]:
    """Return medians in ms by label. Sends the queries in turns, after one turn to warm up."""
    taken: dict[str, list[float]] = {label: [] for label in labels}
    for _ in range(times + 1):
        for label in labels:
            path, parameters, _ = ENDPOINTS[label]
            started_s = time.perf_counter()
            _query(service, path, parameters)
            taken[label].append((time.perf_counter() - started_s) * 1000)
    return {label: statistics.median(seconds[1:]) for label, seconds in taken.items()}


def _query(service: Service, path: str, parameters: dict[str, str]) -> dict[str, Any]:
    fields = [*parameters.items(), *(FUNNEL if path == "funnel" else [])]
    reply = service.request("GET", f"/events/{path}".rstrip("/"), fields=fields)
    result: dict[str, Any] = reply.json()
    if reply.status != 200:
        raise SystemExit(f"The service answered {reply.status}: {result}")
    return result


@contextmanager
def _posting(service: Service, rate: int) -> Iterator[None]:
    """Post events from a separate process while the block runs."""
    stop = multiprocessing.Event()
    sender = multiprocessing.Process(target=_post_paced, args=(service.port, rate, stop))
    sender.start()
    time.sleep(20)  # until the first templates are made
    try:
        yield
    finally:
        stop.set()
        sender.join()


def _post_paced(port: int, rate: int, stop: Any) -> None:
    """Post over several connections, so that a slow response does not lower the rate."""
    pool = urllib3.HTTPConnectionPool(HOST, port, maxsize=SENDERS)

    def send(request: bytes) -> None:
        body = request.partition(b"\r\n\r\n")[2]
        headers = {"Content-Type": "application/json"}
        reply = pool.request("POST", "/events/batch", body=body, headers=headers)
        if reply.status != 201:
            raise SystemExit(f"The service answered {reply.status}")

    # The events are in the last day of the month: this is the present of the built events.
    last = START + timedelta(days=DAYS - 1)
    requests = _requests(f"posted-{time.time_ns()}", 100_000, repeat(0), last)
    first = next(requests)  # makes the templates before the clock starts
    started_s, sent = time.perf_counter(), 0
    with ThreadPoolExecutor(SENDERS) as threads:
        sending: deque[Future[None]] = deque()
        for request in chain([first], requests):
            if stop.is_set():
                break
            sending.append(threads.submit(send, request))
            if len(sending) > SENDERS:
                sending.popleft().result()
            sent += BATCH
            time.sleep(max(0.0, started_s + sent / rate - time.perf_counter()))
        for future in sending:
            future.result()
    seconds = time.perf_counter() - started_s
    print(f"{sent:,} events were posted meanwhile, {sent / seconds:,.0f} a second")


if __name__ == "__main__":
    typer.run(main)
