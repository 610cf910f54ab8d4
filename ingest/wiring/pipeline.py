"""Step 2 of `create_app`: the pipeline. The events that its WAL still has are in its buffer."""

from prometheus_client import CollectorRegistry

from ingest.clock import Clock
from ingest.config.settings import Settings
from ingest.ledger import Ledger
from ingest.monitoring.instruments import EventCountsCollector, FlushInstruments
from ingest.parsing.parser import Parser
from ingest.pipeline.committer import Commit, Committer
from ingest.pipeline.dedup import DedupWindow
from ingest.pipeline.flusher import Flusher, FlushLimits
from ingest.pipeline.ingestor import Ingestor
from ingest.pipeline.pipeline import Pipeline
from ingest.pipeline.retrying_writer import RetryingWriter
from ingest.pipeline.ring_buffer import RingBuffer
from ingest.pipeline.wal_writer import WalWriter
from ingest.process import give_way
from ingest.wiring.storage import Storage
from ingest.worker.recovery import WalLimits, claim_wal, replay
from storage.wal.wal import Recovered, Wal

RETRY_AFTER_MAX_S = 60
"""The largest Retry-After of a refusal for lack of room."""


def wal_limits(settings: Settings) -> WalLimits:
    """Return the limits of a worker's WAL."""
    wal = settings.wal
    return WalLimits(wal.segment_bytes, wal.bytes, wal.retain_seconds)


def build_pipeline(
    settings: Settings,
    storage: Storage,
    *,
    registry: CollectorRegistry,
    ledger: Ledger,
    clock: Clock,
) -> Pipeline:
    """Build the pipeline, and replay the WAL, which may take seconds.

    Raises:
        OSError: the WAL can't be read or written.
    """
    wal = claim_wal(settings.wal_dir, wal_limits(settings)) if settings.wal.enabled else None
    recovered = wal.recover() if wal is not None else Recovered()
    dedup = DedupWindow[Commit](keys_max=settings.dedup.ids)
    ring = RingBuffer(
        # Replay needs a slot for each record, and an earlier process may have had more slots.
        slots_max=settings.buffer.slots + len(recovered.backlog),
        rows_max=settings.buffer.rows,
        bytes_max=settings.buffer.bytes,
        clock=clock.monotonic_s,
    )
    if wal is not None:
        replay(wal, recovered, ring=ring, dedup=dedup, ledger=ledger)
    wal_writer = WalWriter(ring=ring, wal=wal, pending_bytes_max=settings.buffer.bytes)
    flusher = _build_flusher(settings, storage, registry, ledger=ledger, ring=ring, wal=wal)
    committer = Committer(
        wal_writer=wal_writer,
        dedup=dedup,
        ledger=ledger,
        clock=clock,
        retry_after_s=lambda: min(RETRY_AFTER_MAX_S, max(1, round(flusher.drain_s()))),
    )
    registry.register(
        EventCountsCollector(ledger=ledger, ring=ring, wal=wal, dead_letters=storage.dead_letters)
    )
    return Pipeline(
        ingestor=_build_ingestor(settings, committer, flusher),
        committer=committer,
        dedup=dedup,
        wal=wal,
        wal_writer=wal_writer,
        ring=ring,
        flusher=flusher,
    )


def _build_ingestor(settings: Settings, committer: Committer, flusher: Flusher) -> Ingestor:
    limits = settings.limits
    return Ingestor(
        parser=Parser(
            decompressed_bytes_max=limits.decompressed_bytes, events_max=limits.events_per_request
        ),
        committer=committer,
        flusher=flusher,
        batch_requests_max=settings.buffer.batch_requests,
        stored_timeout_s=settings.ack.stored_seconds,
    )


def _build_flusher(
    settings: Settings,
    storage: Storage,
    registry: CollectorRegistry,
    *,
    ledger: Ledger,
    ring: RingBuffer,
    wal: Wal | None,
) -> Flusher:
    instruments = FlushInstruments(registry)
    return Flusher(
        ring=ring,
        writer=RetryingWriter(
            writer=storage.writer,
            dead_letters=storage.dead_letters,
            failed=instruments.storage_failed,
        ),
        ledger=ledger,
        observer=instruments,
        wal=wal,
        limits=FlushLimits(settings.flush.rows, settings.flush.bytes, settings.flush.seconds),
        # The embedded engine shares the cores with the event loop, so its threads get a lower
        # priority. A server has its own cores, or its operator sets priorities.
        prepare_thread=give_way if settings.is_embedded else lambda: None,
    )
