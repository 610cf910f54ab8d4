"""Freshness of the table, over all workers: the watermark, and flushes on request."""

import asyncio

from ingest.clock import Clock
from ingest.pipeline.pipeline import Pipeline
from ingest.worker.peers import Handlers, Peers


class LocalFreshness:
    """The freshness of the events that this worker accepted."""

    def __init__(self, *, pipeline: Pipeline, clock: Clock) -> None:
        """Use `pipeline`, with receive times from `clock`."""
        self._pipeline = pipeline
        self._clock = clock

    async def flush(self) -> None:
        """Store everything that this worker has acknowledged, so that queries see it."""
        await self._pipeline.flush()

    def watermark_us(self) -> int:
        """Return the watermark, in µs since 1970: everything received before it is stored."""
        # Read the clock first: an event that arrives after this has a later receive time.
        now_us = self._clock.now_us()
        oldest_us = self._pipeline.oldest_received_us()
        return now_us if oldest_us is None else min(now_us, oldest_us)

    def handlers(self) -> Handlers:
        """Return the handlers of requests from other workers, by name."""

        async def flush() -> bytes:
            await self.flush()
            return await watermark()

        async def watermark() -> bytes:
            return str(self.watermark_us()).encode()

        return {"flush": flush, "watermark": watermark}


class ServiceFreshness:
    """The freshness of the events of all workers. Implements `metrics_api`'s Freshness."""

    def __init__(self, *, local: LocalFreshness, peers: Peers) -> None:
        """Combine this worker with its peers."""
        self._local = local
        self._peers = peers

    async def flush(self, *, timeout_s: float) -> None:
        """Store everything that any worker has acknowledged, so that queries see it.

        Raises:
            TimeoutError: this worker did not finish in `timeout_s` seconds, or another worker did
                not (SilentWorkerError).
        """
        # Each has its own deadline, so that the error of a slow peer names that peer.
        await asyncio.gather(
            asyncio.wait_for(self._local.flush(), timeout_s),
            self._peers.ask("flush", timeout_s=timeout_s),
        )

    async def watermark_us(self) -> int:
        """Return the watermark of all workers, in µs since 1970.

        Raises:
            SilentWorkerError: a worker did not reply in time.
        """
        others = await self._peers.ask("watermark")
        return min([self._local.watermark_us(), *map(int, others.values())])
