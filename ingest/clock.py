"""The clocks of a process.

The wall clock names instants and may jump. The monotonic clock measures durations.
"""

import time


class Clock:
    """The clocks of this machine."""

    def __init__(self) -> None:
        """Start with no earlier reading."""
        self._last_us = 0

    def now_us(self) -> int:
        """Return the wall clock in µs since 1970, never earlier than the last reading.

        Receive times must not go backwards in a process, because the watermark is the oldest one.
        """
        self._last_us = max(self._last_us, time.time_ns() // 1000)
        return self._last_us

    def monotonic_s(self) -> float:
        """Return the monotonic clock in seconds."""
        return time.monotonic()
