"""How fresh the table is: the watermark, and flushes on request, over all workers."""

import asyncio

from ingest.clock import Clock
from ingest.pipeline.pipeline import Pipeline
from ingest.worker.peers import Handlers, Peers


class LocalFreshness:
    """The freshness of what this worker has taken."""

    def __init__(self, *, pipeline: Pipeline, clock: Clock) -> None:
        """Watch `pipeline` by `clock`."""
        self._pipeline = pipeline
        self._clock = clock

    async def flush(self) -> None:
        """Make everything that this worker has acknowledged queryable."""
        await self._pipeline.flush()

    def watermark_us(self) -> int:
        """Return the time before which everything received is queryable, in µs since 1970."""
        # The clock is read first: what arrives later was received later.
        now_us = self._clock.now_us()
        oldest_us = self._pipeline.oldest_received_us()
        return now_us if oldest_us is None else min(now_us, oldest_us)

    def handlers(self) -> Handlers:
        """What other workers may ask."""

        async def flush() -> bytes:
            await self.flush()
            return await watermark()

        async def watermark() -> bytes:
            return str(self.watermark_us()).encode()

        return {"flush": flush, "watermark": watermark}


class ServiceFreshness:
    """Of all workers; the Freshness that metrics ask."""

    def __init__(self, *, local: LocalFreshness, peers: Peers) -> None:
        self._local = local
        self._peers = peers

    async def flush(self, *, timeout_s: float) -> None:
        """Make everything acknowledged so far queryable. Raises TimeoutError."""
        # Each has its own deadline, so that a worker that is slow is named.
        await asyncio.gather(
            asyncio.wait_for(self._local.flush(), timeout_s),
            self._peers.ask("flush", timeout_s=timeout_s),
        )

    async def watermark_us(self) -> int:
        """Everything received before it, in µs since 1970, is queryable. Raises TimeoutError."""
        others = await self._peers.ask("watermark")
        return min([self._local.watermark_us(), *map(int, others.values())])
