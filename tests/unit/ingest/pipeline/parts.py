"""The parts of the ingest pipeline, connected for tests."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from prometheus_client import CollectorRegistry

from ingest.clock import Clock
from ingest.ledger import Ledger
from ingest.monitoring.instruments import FlushInstruments
from ingest.parsing.batch import Batch
from ingest.parsing.formats import BodyFormat
from ingest.parsing.parser import Parser
from ingest.parsing.strict_json import Decoded
from ingest.parsing.validation import validate
from ingest.pipeline.committer import Commit, Committer
from ingest.pipeline.dedup import DedupWindow
from ingest.pipeline.flusher import Flusher, FlushLimits
from ingest.pipeline.ingestor import Ingestor
from ingest.pipeline.request import Ack, IngestRequest, Receipt
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
            clock=self.clock,
            retry_after_s=lambda: 7,
        )
        self.parser = Parser(decompressed_bytes_max=1 << 20, events_max=1_000)
        self.ingestor = Ingestor(
            parser=self.parser,
            committer=self.committer,
            flusher=self.flusher(FakeWriter()),
            batch_requests_max=512,
            stored_timeout_s=0.05,
        )

    def flusher(self, writer: FakeWriter, *, rows: int = 10, age_s: float = 3600) -> Flusher:
        self.registry = CollectorRegistry()
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
            limits=FlushLimits(rows, 1 << 30, age_s),
        )


def batch_of(raw: Sequence[Any]) -> Batch:
    return validate(Decoded(list(raw), False))


def request(
    body: bytes = b"",
    *,
    body_format: BodyFormat = BodyFormat.BATCH,
    idempotency_key: str | None = None,
    partial: bool = False,
    ack: Ack = "durable",
) -> IngestRequest:
    return IngestRequest(body, body_format, "", idempotency_key, partial, ack)


async def send(parts: Parts, raw: Sequence[Any], **options: Any) -> Receipt:
    """Accept events that are parsed already, as one request."""
    return await parts.ingestor.accept(batch_of(raw), request(**options))


def outcome(parts: Parts) -> dict[str, int]:
    counts = asdict(parts.ledger.read())
    outcomes = ("stored", "duplicate", "rejected", "refused", "in_flight")
    assert counts["received"] == sum(counts[name] for name in outcomes)
    return {name: count for name, count in counts.items() if count}


def events(count: int, **fields: Any) -> Sequence[dict[str, Any]]:
    return [{"name": "e", "channel_type": "web", "id": f"id-{i}", **fields} for i in range(count)]
