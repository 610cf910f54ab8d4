"""How fresh the table is: the watermark, and flushes on request, over all workers."""

import asyncio

from ingest.clock import Clock
from ingest.pipeline.committer import Committer
from ingest.pipeline.flusher import Flusher
from ingest.pipeline.ring_buffer import RingBuffer
from ingest.pipeline.wal_writer import WalWriter
from ingest.worker.peers import Handlers, Peers


class LocalFreshness:
    """Of this worker."""

    def __init__(
        self,
        *,
        committer: Committer,
        wal_writer: WalWriter,
        ring: RingBuffer,
        flusher: Flusher,
        clock: Clock,
    ) -> None:
        self._wal_writer = wal_writer
        self._committer = committer
        self._ring = ring
        self._flusher = flusher
        self._clock = clock

    async def flush(self) -> None:
        """Make everything that this worker has acknowledged queryable."""
        self._committer.seal()
        await self._wal_writer.settled()
        await asyncio.wrap_future(self._flusher.flush())

    def watermark_us(self) -> int:
        # The clock is read first: what comes in later was received later.
        candidates = (
            self._clock.now_us(),
            self._committer.oldest_received_us(),
            self._ring.oldest_received_us(),
        )
        return min(us for us in candidates if us is not None)

    def answers(self) -> Handlers:
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
