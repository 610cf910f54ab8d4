"""Cancels what takes too long.

PERF: one timer for all instead of one for each, whose making and cancelling is 3 µs of every
request; so an end may come an eighth of the time late.

Belongs to the event loop.
"""

import asyncio
from typing import Any

_CHECKS = 8
"""In the time that something may take."""

Task = asyncio.Task[Any]


class Deadlines:
    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._started_s: dict[Task, float] = {}
        self._is_checking = False

    def start(self) -> Task:
        """From now on the current task has `timeout_s`, until `stop`."""
        task = asyncio.current_task()
        assert task is not None
        loop = task.get_loop()
        self._started_s[task] = loop.time()
        if not self._is_checking:
            self._is_checking = True
            loop.call_later(self.timeout_s / _CHECKS, self._check, loop)
        return task

    def passed(self, task: Task) -> bool:
        """Whether `task`, started and not stopped, was cancelled from here."""
        return task not in self._started_s

    def stop(self, task: Task) -> None:
        self._started_s.pop(task, None)

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        late_s = loop.time() - self.timeout_s
        late = [task for task, started_s in self._started_s.items() if started_s <= late_s]
        for task in late:
            del self._started_s[task]
            task.cancel()
        self._is_checking = bool(self._started_s)
        if self._is_checking:
            loop.call_later(self.timeout_s / _CHECKS, self._check, loop)
