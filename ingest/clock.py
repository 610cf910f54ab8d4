"""The two clocks: the wall, which may jump, names instants; the monotonic one measures spans."""

import time


class Clock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self._last_us = 0

    def now_us(self) -> int:
        """Wall clock, in µs since 1970; never earlier than it said before.

        Receive times must not go backwards in a process, for the watermark is the oldest of them.
        """
        self._last_us = max(self._last_us, time.time_ns() // 1000)
        return self._last_us

    def monotonic_s(self) -> float:
        return time.monotonic()
