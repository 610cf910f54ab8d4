"""A service of its own for a measurement: started as a user would, stopped at the end."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import urllib3

START_S_MAX = 60
STOP_S_MAX = 60


@dataclass(frozen=True, slots=True)
class Service:
    """pid: of the parent process."""

    host: str
    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def pids(self) -> list[int]:
        """The parent and its workers."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def rss_peak_bytes(self) -> int:
        """The peaks of all processes, added up."""
        return sum(_status_bytes(pid, "VmHWM") for pid in self.pids())

    def cpu_s(self) -> float:
        """CPU time of all processes so far, in user and system mode."""
        ticks = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def running_service(
    data_dir: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """`event-stream serve` on a free port, ready. arguments: more of its options."""
    port = free_port()
    command = [sys.executable, "-m", "ingest", "serve", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--data-dir", str(data_dir), *arguments],
        env={**os.environ, **(environment or {})},
    )
    try:
        service = Service("127.0.0.1", port, process.pid)
        _wait_ready(service, process)
        yield service
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S_MAX)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_ready(service: Service, process: "subprocess.Popen[bytes]") -> None:
    pool = urllib3.PoolManager(retries=False, timeout=5)
    deadline_s = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise RuntimeError(f"The service ended with exit code {process.returncode}")
        try:
            if pool.request("GET", f"{service.url}/readyz").status == 200:
                return
        except urllib3.exceptions.HTTPError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"The service was not ready within {START_S_MAX} s")


def _status_bytes(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0
