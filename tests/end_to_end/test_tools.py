"""The tools around the service: generate, load, Locust, and the README's commands."""

import gzip
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from bench.harness.service import Service, free_port
from ingest.parsing.compression import zstd
from tests.end_to_end.api import count, event, metrics

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent


def run(*command: str, stdin: bytes = b"", timeout_s: float = 120) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, input=stdin, capture_output=True, timeout=timeout_s, cwd=ROOT, check=False
    )


def event_stream(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess:
    return run(sys.executable, "-m", "ingest", *arguments, stdin=stdin)


def load(service: Service, *arguments: str, stdin: bytes = b"") -> str:
    result = event_stream("load", *arguments, "--url", service.url, stdin=stdin)
    assert result.returncode == 0, result.stderr.decode()
    return str(result.stdout.decode())


def test_the_same_seed_generates_the_same_events() -> None:
    first, again = (event_stream("generate", "500", "--seed", "7").stdout for _ in range(2))
    assert first == again
    assert first != event_stream("generate", "500", "--seed", "8").stdout
    lines = first.splitlines()
    assert len(lines) == 500
    assert 600 < len(first) / 500 < 1000
    assert len({orjson.loads(line)["name"] for line in lines}) > 5


def test_generated_events_are_loaded_and_loading_them_again_counts_nothing_twice(
    service: Service, tmp_path: Path
) -> None:
    lines = event_stream("generate", "3000", "--seed", "11", "--no-ids").stdout.splitlines()
    sent = [orjson.loads(line) | {"name": "loaded"} for line in lines]
    body = b"\n".join(map(orjson.dumps, sent))
    (tmp_path / "events.ndjson").write_bytes(body)
    assert "3,000 events accepted, 0 of them" in load(service, str(tmp_path / "events.ndjson"))
    assert count(service, "loaded") == len(set(body.splitlines()))
    assert "3,000 events accepted" in load(service, "-", stdin=body)
    assert count(service, "loaded") == len(set(body.splitlines()))


@pytest.mark.parametrize("suffix", ["ndjson.gz", "ndjson.zst", "json", "wrapped.json", "one.json"])
def test_files_of_every_kind_are_loaded(service: Service, tmp_path: Path, suffix: str) -> None:
    name = f"file_{suffix}"
    sent = [event(name, id=f"{name}-{i}") for i in range(1 if suffix == "one.json" else 1500)]
    lines = b"\n".join(map(orjson.dumps, sent))
    content = {
        "ndjson.gz": gzip.compress(lines),
        "ndjson.zst": zstd.compress(lines),
        "json": orjson.dumps(sent, option=orjson.OPT_INDENT_2),
        "wrapped.json": orjson.dumps({"events": sent}),
        "one.json": orjson.dumps(sent[0], option=orjson.OPT_INDENT_2),
    }[suffix]
    path = tmp_path / suffix
    path.write_bytes(content)
    load(service, str(path))
    assert count(service, name) == len(sent)


def test_a_bad_event_in_a_file_is_named_and_can_be_skipped(service: Service) -> None:
    lines = [orjson.dumps(event("skipped", id=str(i))) for i in range(250)]
    lines[123] = b'{"name":"skipped"}'
    stdin = b"\n".join(lines)
    result = event_stream(
        "load", "-", "--batch-size", "100", "--requests", "1", "--url", service.url, stdin=stdin
    )
    assert result.returncode == 2
    assert b"Event 124 of the file is invalid at channel_type" in result.stderr
    assert "249 events accepted" in load(service, "-", "--partial", stdin=stdin)
    assert count(service, "skipped") == 249


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"not json", b"neither NDJSON nor JSON"), (gzip.compress(b"{}" * 999)[:20], b"cut off"),
     (b"[1", b"neither"), (b"1", b"must be an event")],
    ids=["words", "cut off", "open list", "number"],
)  # fmt: skip
def test_a_file_that_is_none_is_refused(service: Service, content: bytes, part: bytes) -> None:
    result = event_stream("load", "-", "--url", service.url, stdin=content)
    assert result.returncode == 2
    assert part in result.stderr
    assert b"Traceback" not in result.stderr


def test_loading_without_a_file_or_a_service_says_so() -> None:
    assert b"No such file" in event_stream("load", "nowhere.ndjson").stderr


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
