"""The real service as a process, on embedded storage and on a server with two workers."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bench.service import Service, free_port


@contextmanager
def fake_clickhouse(data_dir: Path, port: int | None = None) -> Iterator[str]:
    """The URL of a fake ClickHouse server of its own."""
    port = port or free_port()
    command = [sys.executable, "-m", "tests.fakes.fake_clickhouse", str(port), str(data_dir)]
    process = subprocess.Popen(command)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{url}/ping").close()
                break
            except OSError:
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def new_service(
    mode: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Service]]:
    """Makes services of the mode, not started, each with storage of its own."""
    made: list[Service] = []
    with ExitStack() as stack:

        def make(**environment: str) -> Service:
            data_dir = tmp_path_factory.mktemp("data")
            arguments: tuple[str, ...] = ()
            if mode == "server":
                url = stack.enter_context(fake_clickhouse(data_dir / "fake"))
                arguments = ("--clickhouse-url", url, "--workers", "2")
            service = Service(data_dir, *arguments, environment=environment)
            made.append(service)
            return service

        yield make
        for service in made:
            if service.running:
                service.stop()


@pytest.fixture(scope="session")
def service(new_service: Callable[..., Service]) -> Service:
    """One that runs for all tests of the mode; tests use names of events of their own."""
    service = new_service()
    service.start()
    return service
