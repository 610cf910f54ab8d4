"""The life of a worker: up in one order, down in the other.

Up: storage is opened and migrated (by the flusher, which tries until it works), the peers answer,
requests come. Down: not ready, refuse, drain, close. It hangs on the ASGI lifespan, because
Granian's own hooks run in the parent process.
"""

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from ingest.pipeline.flusher import Flusher
from ingest.pipeline.ingestor import Ingestor
from ingest.pipeline.wal_writer import WalWriter
from ingest.process import calm_garbage_collector
from ingest.worker.peers import Peers
from ingest.worker.recovery import Adopter
from ingest.worker.storage_watch import StorageWatch
from storage.clickhouse.reader import Reader

OPEN_WAIT_S = 2.0
"""How long a start waits for storage before it takes requests without it."""
PARENT_CHECK_S = 1.0
ADOPT_EVERY_S = 10.0

log = structlog.get_logger()


class Lifespan:
    """Falcon middleware that starts and stops a worker's parts."""

    def __init__(
        self,
        *,
        ingestor: Ingestor,
        wal_writer: WalWriter,
        flusher: Flusher,
        reader: Reader,
        peers: Peers,
        adopter: Adopter | None,
        watch: StorageWatch,
        close_cache: Callable[[], Awaitable[None]],
        shutdown_s: float,
        undrained: Callable[[], None],
    ) -> None:
        """adopter: takes over the logs of workers that are gone; shutdown_s: the time to drain;
        undrained: called at the end when that did not suffice."""
        self._wal_writer = wal_writer
        self._adopter = adopter
        self._watch = watch
        self._close_cache = close_cache
        self._ingestor = ingestor
        self._flusher = flusher
        self._reader = reader
        self._peers = peers
        self._shutdown_s = shutdown_s
        self._undrained = undrained
        self._closed_s: float | None = None
        self._closing: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def open(self) -> bool:
        """Whether events are taken."""
        return self._closed_s is None

    async def process_startup(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        self._flusher.start()
        await self._peers.start()
        loop = asyncio.get_running_loop()
        if await loop.run_in_executor(None, self._flusher.wait_open, OPEN_WAIT_S):
            await self._watch.begin()
        else:
            log.warning("started without storage: events are kept until it answers")
        self._tasks.append(asyncio.create_task(self._watch_parent()))
        self._tasks.append(asyncio.create_task(self._watch.run()))
        if self._adopter is not None:
            self._tasks.append(asyncio.create_task(self._keep_adopting(self._adopter)))
        loop.add_signal_handler(signal.SIGTERM, self._on_sigterm)
        calm_garbage_collector()
        log.info("worker started", pid=os.getpid(), worker=self._peers.number)

    async def process_shutdown(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        self.close()
        assert self._closed_s is not None
        assert self._closing is not None
        for task in self._tasks:
            task.cancel()
        await self._closing
        left_s = max(0.0, self._closed_s + self._shutdown_s - time.monotonic())
        loop = asyncio.get_running_loop()
        drained = await loop.run_in_executor(None, self._flusher.join, left_s)
        self._wal_writer.close()
        await self._peers.close()
        await self._close_cache()
        await loop.run_in_executor(None, self._reader.close)
        if drained:
            log.info("worker stopped: everything is stored", worker=self._peers.number)
        else:
            log.error(
                "worker stopped with events that storage did not take in time",
                worker=self._peers.number,
                kept="in the log, for the next start" if self._wal_writer.durable else "nowhere",
            )
            self._undrained()

    def close(self) -> None:
        """Refuse events from now on, and flush those there are. Does not block."""
        if self._closed_s is None:
            self._closed_s = time.monotonic()
            self._ingestor.close()
            self._closing = asyncio.get_running_loop().create_task(self._close_flusher())

    async def _close_flusher(self) -> None:
        await self._wal_writer.settled()
        self._flusher.close()

    async def _keep_adopting(self, adopter: Adopter) -> None:
        while True:
            try:
                await adopter.adopt()
            except Exception as error:  # what can't be adopted now is safe where it lies
                log.error("a log could not be adopted", error=str(error))
            await asyncio.sleep(ADOPT_EVERY_S)

    def _on_sigterm(self) -> None:
        if not self.open:
            return  # Granian hangs when it is told twice
        # Granian lets requests in flight finish before the shutdown event; a slow one must not
        # use up the time to drain. Its own handler still has SIGINT, which does the same.
        self.close()
        signal.raise_signal(signal.SIGINT)

    async def _watch_parent(self) -> None:
        """Stop when the parent was killed: nobody else would stop this worker."""
        parent = multiprocessing.parent_process()
        while parent is None or os.getppid() == parent.pid:
            await asyncio.sleep(PARENT_CHECK_S)
        log.error("the parent process is gone: stopping", worker=self._peers.number)
        signal.raise_signal(signal.SIGTERM)
