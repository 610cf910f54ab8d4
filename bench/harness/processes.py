"""What a process and its children use, as Linux tells it."""

import os
from pathlib import Path


class Processes:
    def __init__(self, pid: int) -> None:
        self._pid = pid

    def pids(self) -> list[int]:
        """The process and its children."""
        pid = self._pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def cpu_s(self) -> float:
        """CPU time of all of them so far, in user and system mode."""
        ticks = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        """The memory of all of them now, added up."""
        return sum(_status_bytes(pid, "VmRSS") for pid in self.pids())

    def rss_peak_bytes(self) -> int:
        """The peaks of all of them, added up."""
        return sum(_status_bytes(pid, "VmHWM") for pid in self.pids())


def _status_bytes(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0
