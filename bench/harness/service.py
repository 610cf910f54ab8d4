"""A service in separate processes, for a benchmark or a test. It is started as users start it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3

from bench.harness.processes import Processes

START_S_MAX = 60
STOP_S_MAX = 60
HOST = "127.0.0.1"


class Service:
    """`event-stream serve` as a process."""

    def __init__(
        self,
        data_dir: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        port: int | None = None,
        module: str = "ingest",
        program: Sequence[str] = (),
    ) -> None:
        """Prepare the command; nothing is started yet.

        Args:
            data_dir: data directory of the service.
            *arguments: more options of `serve`.
            environment: environment variables, added to those of this process.
            port: port to listen on; None for a free port.
            module: Python module to run if there is no `program`.
            program: command to run instead of the module.
        """
        self.port = free_port() if port is None else port
        self.data_dir = data_dir
        self.scheme = "http"
        self.http = urllib3.PoolManager(retries=False, timeout=60, maxsize=64)
        self._command = [*(program or (sys.executable, "-m", module))]
        self._command += ["serve", "--port", str(self.port)]
        self._command += ["--data-dir", str(data_dir), *arguments]
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The base URL of the service."""
        return f"{self.scheme}://{HOST}:{self.port}"

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The parent process. The service must have been started."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def running(self) -> bool:
        """Whether the parent process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, wait_s: float = START_S_MAX) -> None:
        """Start the service, and wait until it is ready.

        Raises:
            RuntimeError: it ended, or was not ready within `wait_s` seconds.
        """
        self.launch()
        self.wait_ready(wait_s)

    def launch(self) -> None:
        """Start the service without waiting for it."""
        self._process = subprocess.Popen(self._command, env=self._environment)

    def wait_ready(self, wait_s: float) -> None:
        """Wait until the service is ready.

        Raises:
            RuntimeError: it ended, or was not ready within `wait_s` seconds.
        """
        deadline_s = time.monotonic() + wait_s
        while time.monotonic() < deadline_s:
            if not self.running:
                raise RuntimeError(f"The service ended with exit code {self.process.returncode}")
            if self.answers("/readyz"):
                return
            time.sleep(0.05)
        raise RuntimeError(f"The service was not ready within {wait_s:g} s")

    def answers(self, path: str) -> bool:
        """Return whether the response to a GET has status 200."""
        try:
            return self.request("GET", path).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def stop(self) -> int:
        """Send SIGTERM, wait for the end, and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S_MAX)

    def kill(self) -> None:
        """Send SIGKILL to all processes of the service at once, as in a power failure."""
        pids = self.processes.pids()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.process.wait(STOP_S_MAX)
        while any(Path(f"/proc/{pid}").exists() for pid in pids[1:]):
            time.sleep(0.01)  # the kernel takes a moment to close the files of orphans

    def request(self, method: str, path: str, **options: Any) -> urllib3.BaseHTTPResponse:
        """Send a request and return the response.

        Args:
            method: HTTP method.
            path: path of the URL.
            **options: passed on to urllib3.
        """
        return self.http.request(method, self.url + path, **options)

    @property
    def processes(self) -> Processes:
        """The parent process and its workers."""
        return Processes(self.process.pid)


@contextmanager
def running_service(data_dir: Path, *arguments: str, **options: Any) -> Iterator[Service]:
    """Start a service for the block, and stop it at the end unless it has ended by itself."""
    service = Service(data_dir, *arguments, **options)
    service.start()
    try:
        yield service
    finally:
        if service.running:
            service.stop()


def free_port() -> int:
    """Return a TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
