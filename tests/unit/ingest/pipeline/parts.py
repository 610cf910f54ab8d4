"""The ingest pipeline from identified events to the buffer, for tests of its parts."""

import asyncio
from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from ingest.clock import Clock
from ingest.ledger import Ledger
from ingest.monitoring.instruments import FlushInstruments
from ingest.pipeline.committer import Commit, Committer
from ingest.pipeline.dedup import DedupWindow
from ingest.pipeline.flusher import Flusher
from ingest.pipeline.ingestor import Ingestor
from ingest.pipeline.retrying_writer import RetryingWriter
from ingest.pipeline.ring_buffer import RingBuffer
from ingest.pipeline.wal_writer import WalWriter
from storage.wal.wal import Wal
from tests.fakes.fake_writer import FakeWriter


class Parts:
    def __init__(
        self,
        *,
        rows_max: int = 1000,
        commit_rows: int = 512,
        wal: Wal | None = None,
    ) -> None:
        self.wal = wal
        self.clock = Clock()
        self.ledger = Ledger()
        self.ring = RingBuffer(
            slots_max=100, rows_max=rows_max, bytes_max=1 << 30, clock=self.clock.monotonic_s
        )
        self.wal_writer = WalWriter(ring=self.ring, wal=wal, pending_bytes_max=1 << 20)
        self.dedup: DedupWindow[Commit] = DedupWindow(keys_max=1000)
        self.committer = Committer(
            wal_writer=self.wal_writer,
            dedup=self.dedup,
            ledger=self.ledger,
            rows_max=commit_rows,
            retry_after_s=lambda: 7,
        )
        self.stored = asyncio.Event()
        self.ingestor = Ingestor(
            committer=self.committer,
            ledger=self.ledger,
            clock=self.clock,
            stored=self.stored.wait,
            stored_timeout_s=0.05,
        )
        self.registry = CollectorRegistry()

    def flusher(self, writer: FakeWriter, *, rows: int = 10, age_s: float = 3600) -> Flusher:
        instruments = FlushInstruments(self.registry)
        return Flusher(
            ring=self.ring,
            writer=RetryingWriter(
                writer=writer,
                dead_letters=writer,
                failed=instruments.storage_failed,
                retry_waits_s=(0.001, 0.01),
            ),
            ledger=self.ledger,
            observer=instruments,
            wal=self.wal,
            stream_id="stream",
            rows=rows,
            bytes=1 << 30,
            age_s=age_s,
            clock=self.clock.monotonic_s,
        )


def events(count: int, **fields: Any) -> Sequence[dict[str, Any]]:
    return [{"name": "e", "channel_type": "web", "id": f"id-{i}", **fields} for i in range(count)]
