"""The pipeline of one worker: start, flush, close and drain of all its parts."""

import asyncio

from ingest.pipeline.committer import Commit, Committer
from ingest.pipeline.dedup import DedupWindow
from ingest.pipeline.flusher import Flusher
from ingest.pipeline.ingestor import Ingestor
from ingest.pipeline.ring_buffer import RingBuffer
from ingest.pipeline.wal_writer import WalWriter
from storage.wal.wal import Wal


class Pipeline:
    """The parts between requests and the table."""

    def __init__(
        self,
        *,
        ingestor: Ingestor,
        committer: Committer,
        dedup: DedupWindow[Commit],
        wal: Wal | None,
        wal_writer: WalWriter,
        ring: RingBuffer,
        flusher: Flusher,
    ) -> None:
        """Hold the parts, in the order of the flow; `wal` is None if it is disabled."""
        self.ingestor = ingestor
        self.dedup = dedup
        self.wal = wal
        self.wal_writer = wal_writer
        self.ring = ring
        self.flusher = flusher
        self._committer = committer
        self._closing: asyncio.Task[None] | None = None

    @property
    def is_closed(self) -> bool:
        """Whether events are refused because the worker is stopping."""
        return self._closing is not None

    async def start(self, *, wait_s: float) -> bool:
        """Start flushing; return whether storage could be opened within `wait_s`."""
        self.flusher.start()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, self.flusher.wait_open, wait_s)

    async def flush(self) -> None:
        """Store everything that was acknowledged so far, so that queries see it."""
        await self.wal_writer.settled()
        await asyncio.wrap_future(self.flusher.flush())

    def oldest_received_us(self) -> int | None:
        """Return when the oldest event that is not stored was received, in µs since 1970.

        None if all events are stored.
        """
        times = (self.wal_writer.oldest_received_us(), self.ring.oldest_received_us())
        return min((time_us for time_us in times if time_us is not None), default=None)

    def close(self) -> None:
        """Refuse events from now on, and flush the accepted ones. Does not block."""
        if self._closing is None:
            self._committer.close()
            self._closing = asyncio.get_running_loop().create_task(self._close_flusher())

    async def drain(self, *, timeout_s: float) -> bool:
        """Wait until everything is stored, then close the WAL. Call `close` before.

        Args:
            timeout_s: how long to wait, in seconds.

        Returns:
            Whether everything was stored in time.
        """
        assert self._closing is not None, "call close before drain"
        await self._closing
        loop = asyncio.get_running_loop()
        is_drained = await loop.run_in_executor(None, self.flusher.join, timeout_s)
        self.wal_writer.close()
        return is_drained

    async def _close_flusher(self) -> None:
        await self.wal_writer.settled()
        self.flusher.close()
