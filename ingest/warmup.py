"""Once storage is open: look at its health, and learn the ids that it has had lately."""

import structlog

from ingest.committer import Commit
from ingest.dedup import DedupWindow
from ingest.ledger import Ledger
from ingest.recovery import replay_retained
from ingest.ring_buffer import RingBuffer
from storage.errors import StorageError
from storage.reader import Reader
from storage.wal import Wal

log = structlog.get_logger()


class Warmup:
    def __init__(
        self,
        *,
        reader: Reader,
        dedup: DedupWindow[Commit],
        wal: Wal | None,
        ring: RingBuffer,
        ledger: Ledger,
        recent_s: int,
        ids_max: int,
    ) -> None:
        """recent_s, ids_max: which stored ids are learned."""
        self._reader = reader
        self._dedup = dedup
        self._wal = wal
        self._ring = ring
        self._ledger = ledger
        self._recent_s = recent_s
        self._ids_max = ids_max

    async def run(self) -> None:
        try:
            await self._check_parts()
            self._dedup.remember(
                await self._reader.recent_ids(seconds=self._recent_s, limit=self._ids_max)
            )
        except StorageError as error:  # the table collapses what the window does not know
            log.warning("recent ids could not be read", error=str(error))

    async def _check_parts(self) -> None:
        broken = await self._reader.broken_parts()
        if not broken:
            return
        again = 0
        if self._wal is not None:
            again = await replay_retained(self._wal, ring=self._ring, ledger=self._ledger)
        log.error(
            "the table has lost parts: storing again what the log still has",
            parts=broken,
            events=again,
        )
