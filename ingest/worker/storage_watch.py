"""Reads from storage what a worker must know: recent events, and parts that the table has lost.

When a ClickHouse server starts, it detaches parts that it can't read, and does not report them. So
the worker queries them: at its start, whenever storage works again after a failure, and regularly.
"""

import asyncio
import time

import structlog

from ingest.ledger import Ledger
from ingest.pipeline.pipeline import Pipeline
from ingest.worker.recovery import replay_retained
from storage.clickhouse.reader import Reader
from storage.errors import PausedError, StorageError
from storage.tables.cluster import ClusterLayout
from storage.tables.inspection import broken_parts_query, recent_keys

CHECK_EVERY_S = 15.0
"""How often lost parts are looked for while storage works."""
LOOK_EVERY_S = 0.5
"""How often the state of the flusher is read."""

log = structlog.get_logger()


class StorageWatch:
    """Fills the dedup window at the start, and stores events again if the table lost parts."""

    def __init__(
        self,
        *,
        reader: Reader,
        pipeline: Pipeline,
        ledger: Ledger,
        layout: ClusterLayout,
        recent_s: int,
        keys_max: int,
        check_every_s: float = CHECK_EVERY_S,
    ) -> None:
        """Connect the parts.

        Args:
            reader: queries the tables.
            pipeline: has the dedup window, and the WAL with the retained events.
            ledger: counts events that are stored again.
            layout: where the tables are.
            recent_s: events received in the last `recent_s` seconds are put into the dedup window.
            keys_max: how many events are put into the dedup window at most.
            check_every_s: time between two checks for lost parts, in seconds.
        """
        self._reader = reader
        self._pipeline = pipeline
        self._flusher = pipeline.flusher
        self._ledger = ledger
        self._layout = layout
        self._recent_s = recent_s
        self._keys_max = keys_max
        self._check_every_s = check_every_s
        self._begun = self._is_stalled = False
        self._may_check = True
        self._reported: frozenset[str] = frozenset()

    async def begin(self) -> None:
        """Check for lost parts, and fill the dedup window. Call it once storage is open."""
        self._begun = True
        try:
            await self._check_parts()
        except Exception as error:  # a failing disk must not keep the worker from starting
            log.error("lost parts could not be stored again", error=str(error))
        try:
            keys = await recent_keys(self._reader, seconds=self._recent_s, limit=self._keys_max)
            self._pipeline.dedup.remember(keys)
        except StorageError as error:  # the table collapses duplicates that the window misses
            log.warning("recent ids could not be read", error=str(error))

    async def run(self) -> None:
        """Check for lost parts, until cancelled."""
        recoveries, checked_s = self._flusher.recoveries, time.monotonic()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self._log_stall()
            if self._flusher.state != "ok":
                continue
            recovered = self._flusher.recoveries != recoveries
            is_due = recovered or time.monotonic() - checked_s >= self._check_every_s
            if self._begun and not is_due:
                continue
            recoveries, checked_s = self._flusher.recoveries, time.monotonic()
            try:
                await (self._check_parts() if self._begun else self.begin())
            except Exception as error:  # after a disk failure or a bug, the next check is tried
                log.error("the check for lost parts failed", error=str(error))

    def _log_stall(self) -> None:
        is_stalled = self._flusher.is_stalled
        if is_stalled and not self._is_stalled:
            log.warning("an insert takes too long: not ready until storage answers")
        self._is_stalled = is_stalled

    async def _check_parts(self) -> None:
        sql, parameters = broken_parts_query(self._layout)
        try:
            rows = await self._reader.query(sql, parameters, skip_unavailable_shards=1)
        except StorageError as error:
            if self._may_check or not isinstance(error, PausedError):
                log.warning("could not check whether storage has lost parts", error=str(error))
            self._may_check = not isinstance(error, PausedError)
            return
        self._may_check = True
        broken = frozenset(f"{table}/{part} on {host}" for host, table, part, _ in rows)
        if not broken - self._reported:
            return
        events = await replay_retained(self._pipeline, self._ledger)
        log.error(
            "the table has lost parts: storing the retained events of the WAL again",
            parts=sorted(broken - self._reported),
            events=events,
        )
        self._reported |= broken
