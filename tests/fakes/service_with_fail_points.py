"""A service that kills itself at a step of the log: `event-stream` with a fail point.

    FAIL_POINT=after_sync:3 python -m tests.fakes.service_with_fail_points serve …

The number is how often the step is passed unharmed. Forked workers inherit it.
"""

import os
import signal
from collections.abc import Callable
from typing import Any

from ingest.cli.main import main
from storage.clickhouse.writer import Writer
from storage.wal.wal import Wal

FAIL_POINTS: dict[str, tuple[type, str, bool]] = {
    # name: class, method, whether to die before it and not after
    "before_sync": (Wal, "_sync", True),
    "after_sync": (Wal, "_sync", False),
    "after_insert": (Writer, "write", False),
    "after_checkpoint": (Wal, "_delete_before", True),
    "after_unlink": (Wal, "_delete_before", False),
}


def install(name: str, passes: int) -> None:
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
