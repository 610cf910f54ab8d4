"""Start and stop of a worker.

Start: the flusher opens and migrates storage, with retries. The worker replies to its peers, then
it accepts requests. Stop: the worker is not ready, refuses events, drains, and closes its parts.

Both are called by the ASGI lifespan, because Granian's own hooks run in the parent process.
"""

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from ingest.pipeline.pipeline import Pipeline
from ingest.process import calm_garbage_collector
from ingest.worker.peers import Peers
from ingest.worker.recovery import Adopter
from ingest.worker.storage_watch import StorageWatch

OPEN_WAIT_S = 2.0
"""How long a start waits for storage before the worker accepts requests without it."""
PARENT_CHECK_S = 1.0
"""How often the worker checks whether its parent process is alive."""
ADOPT_EVERY_S = 10.0
"""How often WALs without a worker are looked for."""

log = structlog.get_logger()


class Lifespan:
    """Falcon middleware that starts and stops the parts of a worker."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        peers: Peers,
        watch: StorageWatch,
        adopter: Adopter | None,
        close_queries: Callable[[], Awaitable[None]],
        shutdown_s: float,
        undrained: Callable[[], None],
    ) -> None:
        """Set what to start and stop.

        Args:
            pipeline: accepts and stores events.
            peers: the connection to the other workers.
            watch: watches storage while the worker runs.
            adopter: adopts WALs without a worker; None without a WAL.
            close_queries: closes the query side.
            shutdown_s: how long the stop may drain, in seconds.
            undrained: called at the end of a stop that could not store all events.
        """
        self._pipeline = pipeline
        self._peers = peers
        self._watch = watch
        self._adopter = adopter
        self._close_queries = close_queries
        self._shutdown_s = shutdown_s
        self._undrained = undrained
        self._closed_s = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    async def process_startup(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Start everything. After it, the worker gets requests."""
        loop = asyncio.get_running_loop()
        opening = loop.create_task(self._pipeline.start(wait_s=OPEN_WAIT_S))
        await self._peers.start()
        if await opening:
            await self._watch.begin()
        else:
            log.warning("started without storage: events are kept until it answers")
        self._tasks.append(loop.create_task(self._watch_parent()))
        self._tasks.append(loop.create_task(self._watch.run()))
        if self._adopter is not None:
            self._tasks.append(loop.create_task(self._keep_adopting(self._adopter)))
        loop.add_signal_handler(signal.SIGTERM, self._on_sigterm)
        calm_garbage_collector()
        log.info("worker started", pid=os.getpid(), worker=self._peers.number)

    async def process_shutdown(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Drain and close everything."""
        self.close()
        for task in self._tasks:
            task.cancel()
        left_s = max(0.0, self._closed_s + self._shutdown_s - time.monotonic())
        drained = await self._pipeline.drain(timeout_s=left_s)
        await self._peers.close()
        await self._close_queries()
        if drained:
            log.info("worker stopped: everything is stored", worker=self._peers.number)
        else:
            log.error(
                "worker stopped with events that storage did not take in time",
                worker=self._peers.number,
                kept="in the WAL, for the next start" if self._pipeline.wal else "nowhere",
            )
            self._undrained()

    def close(self) -> None:
        """Refuse events from now on, and flush the accepted ones. Does not block."""
        if not self._pipeline.is_closed:
            self._closed_s = time.monotonic()
            self._pipeline.close()

    async def _keep_adopting(self, adopter: Adopter) -> None:
        while True:
            try:
                await adopter.adopt()
            except Exception as error:  # the events stay in the other WAL, so try again later
                log.error("a WAL could not be adopted", error=str(error))
            await asyncio.sleep(ADOPT_EVERY_S)

    def _on_sigterm(self) -> None:
        if self._pipeline.is_closed:
            return  # Granian hangs if it is told to stop twice
        # Granian waits for running requests before it sends the shutdown event. A slow request must
        # not use up the time to drain, so the pipeline is closed now. SIGINT then makes Granian
        # stop: its handler of SIGTERM was replaced by this one.
        self.close()
        signal.raise_signal(signal.SIGINT)

    async def _watch_parent(self) -> None:
        """Stop if the parent process was killed, because nothing else would stop this worker."""
        parent = multiprocessing.parent_process()
        while parent is None or os.getppid() == parent.pid:
            await asyncio.sleep(PARENT_CHECK_S)
        log.error("the parent process is gone: stopping", worker=self._peers.number)
        signal.raise_signal(signal.SIGTERM)
