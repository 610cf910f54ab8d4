"""A service of one's own, for a measurement or a test: started as a user would."""

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
    """`event-stream serve`, as a process."""

    def __init__(
        self,
        data_dir: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        port: int | None = None,
        module: str = "ingest",
        program: Sequence[str] = (),
    ) -> None:
        """arguments: more options; port: a free one when left out; module: what is run, unless
        there is a program."""
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
        return f"{self.scheme}://{HOST}:{self.port}"

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "not started"
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, wait_s: float = START_S_MAX) -> None:
        """Start and wait until it is ready. Raises RuntimeError when it does not become so."""
        self.launch()
        self.wait_ready(wait_s)

    def launch(self) -> None:
        """Start, whatever becomes of it."""
        self._process = subprocess.Popen(self._command, env=self._environment)

    def wait_ready(self, wait_s: float) -> None:
        """Raises RuntimeError when it ends, or is not ready within `wait_s`."""
        deadline_s = time.monotonic() + wait_s
        while time.monotonic() < deadline_s:
            if not self.running:
                raise RuntimeError(f"The service ended with exit code {self.process.returncode}")
            if self.answers("/readyz"):
                return
            time.sleep(0.05)
        raise RuntimeError(f"The service was not ready within {wait_s:g} s")

    def answers(self, path: str) -> bool:
        """Whether a GET is answered with 200."""
        try:
            return self.request("GET", path).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S_MAX)

    def kill(self) -> None:
        """SIGKILL to every process of it at once, as a power cut would."""
        pids = self.processes.pids()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.process.wait(STOP_S_MAX)
        while any(Path(f"/proc/{pid}").exists() for pid in pids[1:]):
            time.sleep(0.01)  # orphans: the kernel takes a moment to close their files

    def request(self, method: str, path: str, **options: Any) -> urllib3.BaseHTTPResponse:
        return self.http.request(method, self.url + path, **options)

    @property
    def processes(self) -> Processes:
        """The parent and its workers."""
        return Processes(self.process.pid)


@contextmanager
def running_service(data_dir: Path, *arguments: str, **options: Any) -> Iterator[Service]:
    """A started Service, stopped at the end unless it has ended."""
    service = Service(data_dir, *arguments, **options)
    service.start()
    try:
        yield service
    finally:
        if service.running:
            service.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
