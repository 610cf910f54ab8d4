"""The interface through which queries ask ingestion how fresh the stored events are."""

from typing import Protocol


class Freshness(Protocol):
    """Flushes events, and tells which events are queryable."""

    async def flush(self, *, timeout_s: float) -> None:
        """Make all events queryable that were acknowledged so far.

        Args:
            timeout_s: how long to wait, in seconds.

        Raises:
            TimeoutError: It took longer. The text may tell the client what is slow.
        """

    async def watermark_us(self) -> int:
        """Return the watermark in µs since 1970. All events received before it are queryable.

        Raises:
            TimeoutError: It took too long. The text may tell the client what is slow.
        """
