"""Run one kind of Locust user against a running service, step by step.

This runs in a separate process, because Locust changes Python's sockets when it is imported.
`bench.suite` starts it as

    python -m bench.harness.scenario Batch1000User http://127.0.0.1:8080 PID --users 1 --users 4

and reads one JSON text for each step from standard output.
"""

import resource
import time
from pathlib import Path
from typing import Annotated

import gevent  # type: ignore[import-untyped]
import msgspec
import typer
from locust import User
from locust.env import Environment
from locust.html import get_html_report
from locust.stats import StatsEntry

from bench import locustfile
from bench.harness.processes import Processes
from bench.harness.step import Step


def main(
    user: str,
    url: str,
    pid: int,
    users: Annotated[list[int], typer.Option(help="Number of users, for each step")],
    seconds: Annotated[float, typer.Option(help="Duration of each step")] = 10,
    html: Annotated[Path | None, typer.Option(help="File for Locust's own report")] = None,
) -> None:
    """Run the steps, and fail unless exactly the acknowledged events are stored at the end."""
    kind: type[User] = getattr(locustfile, user)
    environment = Environment(user_classes=[kind], host=url, stop_timeout=30)
    runner = environment.create_local_runner()
    for count in users:
        runner.start(count, spawn_rate=count)
        gevent.sleep(1)  # until connections are open and buffers have filled
        print(msgspec.json.encode(_measure(environment, count, pid, seconds)).decode(), flush=True)
    runner.stop()
    if html is not None:
        report: str = get_html_report(environment)  # type: ignore[no-untyped-call]
        html.write_text(report)
    locustfile.check_that_stored_is_sent(environment)
    raise typer.Exit(environment.process_exit_code or 0)


def _measure(environment: Environment, users: int, pid: int, seconds: float) -> Step:
    import urllib3  # after Locust has patched the modules that it uses

    service = Processes(pid)
    environment.stats.reset_all()
    events, cpu_s, client_s = locustfile.Sent.acknowledged, service.cpu_s(), _own_cpu_s()
    started_s = time.perf_counter()
    gevent.sleep(seconds)
    took_s = time.perf_counter() - started_s
    total: StatsEntry = environment.stats.total
    events = locustfile.Sent.acknowledged - events
    cpu_s = service.cpu_s() - cpu_s
    event_counts = urllib3.request("GET", f"{environment.host}/debug/ledger").json()["total"]
    return Step(
        users=users,
        requests_per_s=total.num_requests / took_s,
        events_per_s=events / took_s,
        p50_ms=float(total.get_response_time_percentile(0.5)),
        p99_ms=float(total.get_response_time_percentile(0.99)),
        p999_ms=float(total.get_response_time_percentile(0.999)),
        failures=total.num_failures,
        cpu_us_per_event=cpu_s / max(1, events or total.num_requests) * 1e6,
        service_cores=cpu_s / took_s,
        client_cores=(_own_cpu_s() - client_s) / took_s,
        rss_bytes=service.rss_bytes(),
        backlog=event_counts["in_flight"],
    )


def _own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    typer.run(main)
