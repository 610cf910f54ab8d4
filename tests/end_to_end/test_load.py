"""`event-stream load`: files of every kind, and what happens when loading stops."""

import gzip
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.harness.service import Service
from ingest.parsing.compression import zstd
from tests.end_to_end.api import count, event

SERVICE_MODES = ("embedded",)
"""The tests are about the client. It gets the same replies in both modes."""
LOAD = (sys.executable, "-m", "ingest", "load")
WAIT_S_MAX = 60


def run(service: Service, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess:
    command = [*LOAD, *arguments, "--url", service.url]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False)


def load(service: Service, *arguments: str, stdin: bytes = b"") -> str:
    result = run(service, *arguments, stdin=stdin)
    assert result.returncode == 0, result.stderr.decode()
    return str(result.stdout.decode())


def test_generated_events_are_loaded_and_loading_them_again_counts_nothing_twice(
    service: Service, tmp_path: Path
) -> None:
    generate = [sys.executable, "-m", "ingest", "generate", "3000", "--seed", "11", "--no-ids"]
    lines = subprocess.check_output(generate, timeout=60).splitlines()
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
    result = run(service, "-", "--batch-size", "100", "--requests", "1", stdin=stdin)
    assert result.returncode == 2
    assert b"Event 124 of the file is invalid at channel_type" in result.stderr
    assert "249 events accepted" in load(service, "-", "--partial", stdin=stdin)
    assert count(service, "skipped") == 249


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"not json", b"neither NDJSON, JSON"), (gzip.compress(b"{}" * 999)[:20], b"cut off"),
     (b"[1", b"neither"), (b"1", b"must be an event")],
    ids=["words", "cut off", "open list", "number"],
)  # fmt: skip
def test_a_file_that_is_none_is_refused(service: Service, content: bytes, part: bytes) -> None:
    result = run(service, "-", stdin=content)
    assert result.returncode == 2
    assert part in result.stderr
    assert b"Traceback" not in result.stderr


def test_loading_without_a_file_says_so(service: Service) -> None:
    assert b"No such file" in run(service, "nowhere.ndjson").stderr


def table_of(name: str, rows: int, **columns: list[Any]) -> pa.Table:
    """Events without ids and times: only their position makes them different."""
    return pa.table({"name": [name] * rows, "channel_type": ["web"] * rows, **columns})


def write(path: Path, table: pa.Table) -> Path:
    """Write a table in the format of the file's suffix."""
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=7_000)
    elif path.suffix == ".ndjson":
        path.write_bytes(b"\n".join(map(orjson.dumps, table.to_pylist())))
    else:
        new = pa.ipc.new_file if path.suffix == ".arrow" else pa.ipc.new_stream
        with new(path, table.schema) as writer:
            writer.write_table(table, 7_000)
    return path


SUFFIXES = ["parquet", "arrow", "arrows", "ndjson"]


@pytest.mark.parametrize("suffix", SUFFIXES[:3])
def test_columns_are_loaded_and_loading_them_again_counts_nothing_twice(
    service: Service, tmp_path: Path, suffix: str
) -> None:
    name = f"columns_{suffix}"
    path = write(tmp_path / f"file.{suffix}", table_of(name, 25_000, unknown=[1] * 25_000))
    assert "25,000 events accepted, 0 of them" in load(service, str(path))
    assert "25,000 events accepted, 25,000 of them" in load(service, str(path))
    assert count(service, name) == 25_000


def test_an_arrow_stream_is_loaded_from_stdin(service: Service, tmp_path: Path) -> None:
    stream = write(tmp_path / "file.arrows", table_of("piped", 15_000)).read_bytes()
    assert "15,000 events accepted" in load(service, "-", stdin=stream)
    assert "15,000 events accepted" in load(service, "-", stdin=gzip.compress(stream))
    assert count(service, "piped") == 15_000


@contextmanager
def interrupted(service: Service, path: Path, name: str, *options: str) -> Iterator[str]:
    """Load a file, press Ctrl-C as soon as some of its events are counted, and yield stderr."""
    command = [*LOAD, str(path), *options, "--url", service.url]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        deadline = time.monotonic() + WAIT_S_MAX
        while not count(service, name) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        stderr = process.communicate(timeout=WAIT_S_MAX)[1].decode()
        assert process.returncode == 130, stderr
        yield stderr


def how_to_go_on(stderr: str) -> list[str]:
    found = re.search(r"Go on after them with (--skip \d+.*)$", stderr, re.MULTILINE)
    assert found is not None, stderr
    return found[1].split()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_loading_goes_on_after_an_interruption(
    service: Service, tmp_path: Path, suffix: str
) -> None:
    name, size = f"interrupted_{suffix}", 40_000
    path = write(tmp_path / f"file.{suffix}", table_of(name, size))
    with interrupted(service, path, name, "--batch-size", "100") as stderr:
        assert "Interrupted" in stderr
        assert "Traceback" not in stderr
        options = how_to_go_on(stderr)
    done = int(options[1])
    assert 0 < done < size
    assert options[2:] == ["--batch-size", "100"]
    # Requests that were under way may have been stored after the gap.
    assert done <= count(service, name) < size
    assert f"{size - done:,} events accepted" in load(service, str(path), *options)
    assert count(service, name) == size
    whole = load(service, str(path), "--batch-size", "100")
    assert f"{size:,} events accepted, {size:,} of them duplicates" in whole
    assert count(service, name) == size


@pytest.mark.parametrize("suffix", ["parquet", "ndjson"])
def test_a_file_with_a_bad_event_is_corrected_and_loading_goes_on(
    service: Service, tmp_path: Path, suffix: str
) -> None:
    name = f"corrected_{suffix}"
    params: list[Any] = [[{"key": "k", "number_value": 1.5}]] * 30_000
    good = table_of(name, 30_000, event_params=params)
    params[23_456] = [{"key": None, "number_value": 1.5}]
    path = write(tmp_path / f"file.{suffix}", table_of(name, 30_000, event_params=params))
    result = run(service, str(path), "--requests", "1")
    assert result.returncode == 2
    noun = "Event" if suffix == "ndjson" else "Row"
    assert f"{noun} 23,457 of the file is invalid at event_params[0].key" in result.stderr.decode()
    options = how_to_go_on(result.stderr.decode())
    done = 23_000 if suffix == "ndjson" else 20_000
    assert options == ["--skip", str(done)]
    assert done <= count(service, name) < 30_000
    load(service, str(write(path, good)), *options)
    load(service, str(path))
    assert count(service, name) == 30_000


def test_a_bad_row_can_be_left_out(service: Service, tmp_path: Path) -> None:
    users = ["u" * (70_000 if i == 2_000 else 1) for i in range(3_000)]
    table = table_of("left_out", 3_000, user_id=users)
    path = str(write(tmp_path / "file.parquet", table))
    for duplicates in (0, 2_999):
        output = load(service, path, "--partial")
        assert f"2,999 events accepted, {duplicates:,} of them duplicates; 1 rejected" in output
    assert count(service, "left_out") == 2_999


def test_skip_must_be_where_a_request_began(service: Service, tmp_path: Path) -> None:
    for suffix in ("arrows", "ndjson"):
        path = write(tmp_path / f"file.{suffix}", table_of("never", 3_000))
        result = run(service, str(path), "--skip", "1234")
        assert result.returncode == 2
        assert b"No request begins at --skip" in result.stderr
        assert b"Go on" not in result.stderr
    assert count(service, "never") == 0


def test_a_file_that_ends_too_early_is_loaded_up_to_there(service: Service, tmp_path: Path) -> None:
    table = table_of("cut", 30_000)
    path = write(tmp_path / "file.arrows", table)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 9 // 10])
    result = run(service, str(path))
    assert result.returncode == 2
    [error, hint] = result.stderr.decode().splitlines()[-2:]
    assert error.startswith("event-stream: The file is damaged, cut off or not supported: ")
    path.write_bytes(whole)
    load(service, str(path), *how_to_go_on(hint))
    assert count(service, "cut") == 30_000


def test_columns_that_no_event_has_are_listed(service: Service, tmp_path: Path) -> None:
    path = write(tmp_path / "file.parquet", pa.table({"ts": [1], "type": ["a"]}))
    result = run(service, str(path))
    assert result.returncode == 2
    [error] = [line for line in result.stderr.decode().splitlines() if "event-stream" in line]
    assert "Its columns are ts, type. Needed are channel_type and name" in error


def test_ctrl_c_ends_the_wait_for_a_service_that_is_busy(tmp_path: Path) -> None:
    path = write(tmp_path / "file.parquet", table_of("nobody", 10))
    with socket.create_server(("127.0.0.1", 0)) as busy:
        url = f"http://127.0.0.1:{busy.getsockname()[1]}"
        with subprocess.Popen([*LOAD, str(path), "--url", url], stderr=subprocess.PIPE) as process:
            connection, _ = busy.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(
                    b"HTTP/1.1 503 Busy\r\nRetry-After: 600\r\nContent-Length: 0\r\n\r\n"
                )
                time.sleep(1)  # until it waits
                process.send_signal(signal.SIGINT)
                assert process.wait(timeout=10) == 130
