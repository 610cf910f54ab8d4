"""The machine and the software of a measurement. Results mean nothing without them."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("granian", "falcon", "orjson", "msgspec", "pyarrow", "chdb", "clickhouse-connect")


def describe() -> dict[str, str]:
    """Return descriptions of the machine and the software, by name."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_version()}, {platform.python_compiler()}",
        "packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
