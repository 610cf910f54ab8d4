"""What the metrics need to know of ingestion, without knowing ingestion."""

from typing import Protocol


class Freshness(Protocol):
    async def flush(self, *, timeout_s: float) -> None:
        """Make everything acknowledged so far queryable.

        Raises TimeoutError, which may say for the client what is slow.
        """

    async def watermark_us(self) -> int:
        """Everything received before it, in µs since 1970, is queryable. Raises TimeoutError, as
        `flush` does."""
