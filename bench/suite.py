"""The suite that `event-stream bench` runs: every kind of load, each on a new service.

Each scenario runs one kind of Locust user (bench/locustfile.py), with more users in each step. At
its end it checks that exactly the acknowledged events are stored. The sustainable rate is the best
of the steps in which nothing failed and storage kept up.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.harness.machine import describe
from bench.harness.report import Measurement, write_report
from bench.harness.service import Service, running_service
from bench.harness.step import Step

HEADINGS = (
    f"{'':24} {'users':>5} {'events/s':>9} {'requests/s':>10} {'p50 ms':>7} {'p99 ms':>7}"
    f" {'p99.9 ms':>8} {'CPU µs':>8} {'RSS MiB':>7} {'client':>6}"
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of load.

    Attributes:
        name: name of the scenario.
        user: class of bench/locustfile.py.
        users: number of users in each step.
    """

    name: str
    user: str
    users: tuple[int, ...]


SCENARIOS = (
    Scenario("single", "SingleUser", (4, 16, 64)),
    Scenario("batch-10", "Batch10User", (4, 16, 64)),
    Scenario("batch-100", "Batch100User", (2, 8, 32)),
    Scenario("batch-1000", "Batch1000User", (1, 2, 4, 8)),
    Scenario("batch-10000", "Batch10000User", (1, 2, 4)),
    Scenario("arrow", "ArrowUser", (1, 2, 4)),
    Scenario("ndjson", "NdjsonUser", (1, 2, 4, 8)),
    Scenario("gzip", "GzipUser", (1, 2, 4, 8)),
    Scenario("duplicates", "DuplicatesUser", (1, 2, 4, 8)),
    Scenario("metrics", "MetricsUser", (1, 4, 16)),
    Scenario("mixed", "MixedUser", (4, 16, 64)),
)


class ScenarioError(Exception):
    """A scenario failed. The text has its name and its output."""


def run(scenarios: list[Scenario], *, seconds: float, report: Path, config: Path | None) -> None:
    """Run the scenarios, print the results, and write the report.

    Args:
        scenarios: what to run.
        seconds: duration of each step.
        report: directory for the report.
        config: file with settings for the services.

    Raises:
        ScenarioError: events were lost or counted twice.
    """
    report.mkdir(parents=True, exist_ok=True)
    for name, text in describe().items():
        print(f"{name}: {text}")
    print(HEADINGS)
    options = () if config is None else ("--config", str(config))
    measurements = []
    for scenario in scenarios:
        with (
            tempfile.TemporaryDirectory() as data_dir,
            running_service(Path(data_dir), *options) as service,
        ):
            steps = list(_steps(scenario, service, seconds, report))
        measurements.append(Measurement(scenario.name, steps))
        write_report(report / "index.html", describe(), measurements)
    print("\nSustainable: the best step without a failure in which storage kept up")
    for measurement in measurements:
        best = measurement.sustainable
        rate = "none" if best is None else f"{best.requests_per_s:,.0f} requests/s"
        if best is not None and best.events_per_s:
            rate = f"{best.events_per_s:,.0f} events/s"
        print(f"{measurement.name:24} {rate}")
    print(f"Report: {report / 'index.html'}")


def _steps(scenario: Scenario, service: Service, seconds: float, report: Path) -> Iterator[Step]:
    command = [sys.executable, "-m", "bench.harness.scenario", scenario.user, service.url]
    command += [str(service.process.pid), "--seconds", str(seconds)]
    command += ["--html", str(report / f"{scenario.name}.html")]
    for users in scenario.users:
        command += ["--users", str(users)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output = []
        for line in process.stdout:
            if not line.startswith("{"):
                output.append(line)
                continue
            step = msgspec.json.decode(line, type=Step)
            print(_row(scenario.name, step), flush=True)
            yield step
    if process.returncode:
        raise ScenarioError(f"{scenario.name} failed:\n{''.join(output)}")


def _row(name: str, step: Step) -> str:
    return (
        f"{name:24} {step.users:5} {step.events_per_s:9,.0f} {step.requests_per_s:10,.0f}"
        f" {step.p50_ms:7.0f} {step.p99_ms:7.0f} {step.p999_ms:8.0f} {step.cpu_us_per_event:8.1f}"
        f" {step.rss_bytes / 2**20:7,.0f} {step.client_cores:6.0%}"
        f"{'' if step.is_sustained else '  not sustained'}"
    )
