"""The tools around the service: generate, Locust, bench, and the README's commands."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from bench.harness.service import Service, free_port
from tests.end_to_end.api import metrics

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent


def run(*command: str, stdin: bytes = b"", timeout_s: float = 120) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, input=stdin, capture_output=True, timeout=timeout_s, cwd=ROOT, check=False
    )


def event_stream(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess:
    return run(sys.executable, "-m", "ingest", *arguments, stdin=stdin)


def test_the_same_seed_generates_the_same_events() -> None:
    first, again = (event_stream("generate", "500", "--seed", "7").stdout for _ in range(2))
    assert first == again
    assert first != event_stream("generate", "500", "--seed", "8").stdout
    lines = first.splitlines()
    assert len(lines) == 500
    assert 600 < len(first) / 500 < 1000
    assert len({orjson.loads(line)["name"] for line in lines}) > 5


@pytest.mark.parametrize(
    "users",
    [["SingleUser", "Batch100User", "DuplicatesUser"], ["MixedUser", "NdjsonUser", "GzipUser"]],
)
def test_locust_finds_that_stored_is_sent(service: Service, users: Sequence[str]) -> None:
    result = run(
        str(SCRIPTS / "locust"), "-f", "bench/locustfile.py", "--host", service.url, "--headless",
        "--users", "8", "--spawn-rate", "8", "--run-time", "4s", "--stop-timeout", "10",
        "--only-summary", *users,
    )  # fmt: skip
    output = (result.stdout + result.stderr).decode()
    assert result.returncode == 0, output
    found = re.search(r"sent (\S+), acknowledged (\S+), stored (\S+)", output)
    assert found is not None, output
    sent, acknowledged, stored = (int(n.replace(",", "")) for n in found.groups())
    assert sent == acknowledged == stored > 100


def test_bench_measures_checks_and_reports(tmp_path: Path) -> None:
    report = tmp_path / "report"
    result = event_stream(
        "bench", "batch-100", "metrics", "--seconds", "1", "--report", str(report)
    )
    assert result.returncode == 0, (result.stdout + result.stderr).decode()
    assert re.search(rb"^batch-100 +[\d,]+ events/s$", result.stdout, re.MULTILINE)
    page = (report / "index.html").read_text()
    assert "batch-100" in page
    assert "metrics" in page
    assert (report / "batch-100.html").stat().st_size > 10_000


def test_bench_says_which_scenarios_there_are() -> None:
    assert b"batch-1000\n" in event_stream("bench", "--list").stdout
    wrong = event_stream("bench", "nothing")
    assert wrong.returncode == 2
    assert b"There is no scenario nothing" in wrong.stderr


def test_every_curl_of_the_readme_works_as_printed(service: Service) -> None:
    readme = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)
    commands = [block for block in blocks if "curl" in block]
    assert len(commands) >= 3
    script = "\n".join(commands).replace("http://localhost:8080", service.url)
    result = run(
        "bash", "-euo", "pipefail", "-c", script.replace("curl ", "curl --fail-with-body ")
    )
    assert result.returncode == 0, (result.stdout + result.stderr).decode()
    assert metrics(service, "sign_up")["total_count"] >= 1


@pytest.mark.parametrize("command", [["migrate"], ["migrate", "--dry-run"], ["doctor"]])
def test_a_command_without_its_server_says_so_in_one_line(
    command: list[str], tmp_path: Path
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/events"
    options = ["--clickhouse-url", nobody, "--data-dir", str(tmp_path)]
    line = [str(SCRIPTS / "event-stream"), *command, *options]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    [error] = done.stderr.splitlines()
    assert "can't be reached" in error
