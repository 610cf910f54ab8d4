"""A service that kills itself at one step of the WAL: `event-stream` with a fail point.

    FAIL_POINT=after_sync:3 python -m tests.fakes.service_with_fail_points serve …

With 3, the process is killed in the fourth call of the step. Forked workers inherit the setting.
"""

import os
import signal
from collections.abc import Callable
from typing import Any

from ingest.cli.main import main
from storage.clickhouse.writer import Writer
from storage.wal.wal import Wal

FAIL_POINTS: dict[str, tuple[type, str, bool]] = {
    # name: (class, method, whether to be killed before the method, or else after it)
    "before_sync": (Wal, "_sync", True),
    "after_sync": (Wal, "_sync", False),
    "after_insert": (Writer, "write", False),
    "after_checkpoint": (Wal, "_delete_before", True),
    "after_unlink": (Wal, "_delete_before", False),
}


def install(name: str, passes: int) -> None:
    """Kill this process at the fail point `name`, in the call after `passes` calls."""
    owner, method, before = FAIL_POINTS[name]
    original: Callable[..., Any] = getattr(owner, method)
    left = passes

    def failing(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if before and left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **options)
        if not before and left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, method, failing)


if __name__ == "__main__":
    point = os.environ.get("FAIL_POINT")
    if point:
        point_name, _, point_passes = point.partition(":")
        install(point_name, int(point_passes))
    main()
