"""What a running service learns of storage: the ids it has had lately, and the parts that it lost.

A server sets aside what it can't read when it starts, and says nothing else of it. So it is asked
when the service starts, whenever storage works again after it did not, and now and then.
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
LOOK_EVERY_S = 0.5

log = structlog.get_logger()


class StorageWatch:
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
        """Join the parts.

        Args:
            reader: queries the tables.
            pipeline: has the dedup window to fill, and the WAL to store again from.
            ledger: counts events that are stored again.
            layout: where the tables are.
            recent_s: events received in the last `recent_s` seconds are put into the dedup window.
            keys_max: as many of them at most.
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
        self._known: frozenset[str] = frozenset()

    async def begin(self) -> None:
        """Storage has been opened: learn what there is."""
        self._begun = True
        try:
            await self._check_parts()
        except Exception as error:  # a disk that fails must not keep the worker from starting
            log.error("lost parts could not be stored again", error=str(error))
        try:
            keys = await recent_keys(self._reader, seconds=self._recent_s, limit=self._keys_max)
            self._pipeline.dedup.remember(keys)
        except StorageError as error:  # the table collapses what the window does not know
            log.warning("recent ids could not be read", error=str(error))

    async def run(self) -> None:
        """Until cancelled."""
        recoveries, checked_s = self._flusher.recoveries, time.monotonic()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self._tell_stalled()
            if self._flusher.state != "ok":
                continue
            recovered = self._flusher.recoveries != recoveries
            is_due = recovered or time.monotonic() - checked_s >= self._check_every_s
            if self._begun and not is_due:
                continue
            recoveries, checked_s = self._flusher.recoveries, time.monotonic()
            try:
                await (self._check_parts() if self._begun else self.begin())
            except Exception as error:  # a disk, or a bug: look again when it is due
                log.error("storage could not be looked at", error=str(error))

    def _tell_stalled(self) -> None:
        is_stalled = self._flusher.is_stalled
        if is_stalled and not self._is_stalled:
            log.warning("storage takes long to answer an insert: not ready until it does")
        self._is_stalled = is_stalled

    async def _check_parts(self) -> None:
        sql, parameters = broken_parts_query(self._layout)
        try:
            rows = await self._reader.query(sql, parameters, skip_unavailable_shards=1)
        except StorageError as error:
            if self._may_check or not isinstance(error, PausedError):
                log.warning("it can't be told whether storage has lost parts", error=str(error))
            self._may_check = not isinstance(error, PausedError)
            return
        self._may_check = True
        broken = frozenset(f"{table}/{part} on {host}" for host, table, part, _ in rows)
        if not broken - self._known:
            return
        events = await replay_retained(self._pipeline, self._ledger)
        log.error(
            "the table has lost parts: storing again what the WAL still has",
            parts=sorted(broken - self._known),
            events=events,
        )
        self._known |= broken
