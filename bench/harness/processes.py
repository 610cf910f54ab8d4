"""CPU time and memory of a process and its children, from Linux's /proc."""

import os
from pathlib import Path


class Processes:
    """A process and its children."""

    def __init__(self, pid: int) -> None:
        """Observe the process `pid` and its children."""
        self._pid = pid

    def pids(self) -> list[int]:
        """Return the ids of the process and of its children."""
        pid = self._pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def cpu_s(self) -> float:
        """Return their total CPU time so far, in user and system mode, in seconds."""
        ticks = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        """Return the sum of their resident memory now."""
        return sum(_status_bytes(pid, "VmRSS") for pid in self.pids())

    def rss_peak_bytes(self) -> int:
        """Return the sum of the peaks of their resident memory."""
        return sum(_status_bytes(pid, "VmHWM") for pid in self.pids())


def cpu_s(processes: Processes | None) -> float:
    """Return the total CPU time of processes so far, in seconds; 0 if there are none."""
    return processes.cpu_s() if processes else 0.0


def rss_peak_bytes(processes: Processes | None) -> int:
    """Return the sum of the peaks of the memory of processes; 0 if there are none."""
    return processes.rss_peak_bytes() if processes else 0


def _status_bytes(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0
