"""The composition root: the one place that knows every part and joins them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson
import prometheus_client
import uuid_utils
from clickhouse_connect.driver.client import Client
from prometheus_client import CollectorRegistry, generate_latest

from ingest import http_errors
from ingest.body import AsgiApp, BodyErrors, BodyGuard
from ingest.clock import Clock
from ingest.columns import TABLE_SCHEMA
from ingest.committer import Commit, Committer
from ingest.dedup import DedupWindow
from ingest.docs import STATIC_DIR, STATIC_PATH, docs_routes
from ingest.flusher import Flusher
from ingest.freshness import LocalFreshness, ServiceFreshness
from ingest.health import LiveResource, ReadyResource
from ingest.ingestor import Ingestor
from ingest.instruments import BooksCollector, FlushInstruments, RequestInstruments
from ingest.journal import Journal
from ingest.ledger import Ledger
from ingest.ledger_resource import LedgerResource
from ingest.lifespan import Lifespan
from ingest.openapi import openapi_document
from ingest.parse import Parser
from ingest.peers import Peers
from ingest.persist import Persister
from ingest.recovery import Adopter, claim_wal, replay
from ingest.resources import Acks, BatchResource, EventResource
from ingest.ring_buffer import RingBuffer
from ingest.routes import build_routes
from ingest.settings import Settings
from ingest.warmup import Warmup
from metrics_api import errors as query_errors
from metrics_api.openapi import metrics_paths
from metrics_api.resources import MetricsResource
from metrics_api.scrape import ScrapeResource
from storage.client import connect, embedded_dsn, prepare_embedded
from storage.dead_letters import DeadLetters
from storage.migrations import migrate
from storage.reader import Reader
from storage.schema import EVENTS_TABLE
from storage.wal import Recovered, Wal
from storage.writer import Writer

RETRY_AFTER_MAX_S = 60


@dataclass(frozen=True, slots=True)
class _Pipeline:
    """From a valid batch to the table."""

    ingestor: Ingestor
    committer: Committer
    journal: Journal
    ring: RingBuffer
    flusher: Flusher
    dedup: DedupWindow[Commit]
    wal: Wal | None
    dead_letters: DeadLetters
    adopter: Adopter | None


def create_app(
    settings: Settings,
    *,
    peers_dir: Path | None = None,
    drained: Callable[[], None] = lambda: None,
    clock: Clock | None = None,
) -> AsgiApp:
    """One worker of the service, to be started by the ASGI lifespan.

    peers_dir: shared by the workers of one service, None for a worker alone; drained: called at the
    end of a shutdown that left nothing unstored.
    """
    clock = clock or Clock()
    registry = CollectorRegistry()
    prometheus_client.ProcessCollector(registry=registry)
    ledger = Ledger()
    limits = settings.limits
    pipeline = _build_pipeline(settings, registry=registry, ledger=ledger, clock=clock)
    registry.register(
        BooksCollector(
            ledger=ledger,
            ring=pipeline.ring,
            wal=pipeline.wal,
            dead_letters=pipeline.dead_letters,
        )
    )
    reader = Reader(
        lambda: open_client(settings),
        clients=settings.query.concurrency,
        timeout_s=settings.query.seconds,
    )
    local = LocalFreshness(
        committer=pipeline.committer,
        journal=pipeline.journal,
        ring=pipeline.ring,
        flusher=pipeline.flusher,
        clock=clock,
    )

    async def exposition() -> bytes:
        return generate_latest(registry)

    async def books() -> bytes:
        return orjson.dumps(ledger.read())

    peers = Peers(peers_dir, {**local.answers(), "scrape": exposition, "ledger": books})

    async def expositions() -> dict[int, bytes]:
        return {peers.number: await exposition(), **await peers.ask("scrape")}

    async def ledgers() -> dict[int, bytes]:
        return {peers.number: await books(), **await peers.ask("ledger")}

    warmup = Warmup(
        reader=reader,
        dedup=pipeline.dedup,
        wal=pipeline.wal,
        ring=pipeline.ring,
        ledger=ledger,
        recent_s=settings.dedup.warm_seconds,
        ids_max=settings.dedup.ids,
    )
    lifespan = Lifespan(
        ingestor=pipeline.ingestor,
        journal=pipeline.journal,
        flusher=pipeline.flusher,
        reader=reader,
        peers=peers,
        adopter=pipeline.adopter,
        warmup=warmup,
        shutdown_s=settings.shutdown_seconds,
        drained=drained,
    )
    parser = Parser(
        decompressed_bytes_max=limits.decompressed_bytes, events_max=limits.events_per_request
    )
    acks = Acks(default=settings.ack.level, durable=pipeline.journal.durable)
    checks = {
        "storage": lambda: pipeline.flusher.healthy,
        "log": lambda: pipeline.journal.healthy,
        "accepting": lambda: lifespan.open,
    }
    app = build_routes(
        routes={
            "/events": EventResource(parser=parser, ingestor=pipeline.ingestor, acks=acks),
            "/events/batch": BatchResource(parser=parser, ingestor=pipeline.ingestor, acks=acks),
            "/events/metrics": MetricsResource(
                reader=reader,
                freshness=ServiceFreshness(local=local, peers=peers),
                now_us=clock.now_us,
                flush_timeout_s=settings.query.flush_seconds,
            ),
            "/metrics": ScrapeResource(expositions),
            "/debug/ledger": LedgerResource(ledgers),
            "/livez": LiveResource(),
            "/readyz": ReadyResource(checks),
            **docs_routes(openapi_document(metrics_paths(), limits)),
        },
        static={STATIC_PATH: STATIC_DIR},
        statuses={**http_errors.STATUSES, **query_errors.STATUSES},
        middleware=[RequestInstruments(registry), BodyErrors(), lifespan],
    )
    return BodyGuard(app, bytes_max=limits.body_bytes, timeout_s=limits.body_seconds)


def open_writer(settings: Settings) -> Writer:
    """A writer to the table that `settings` name, which is made when it is first needed.

    Raises OSError when the embedded engine's directory can't be made.
    """
    embedded = settings.clickhouse_url is None
    if embedded:
        prepare_embedded(settings.data_dir)

    def open_storage() -> Client:
        client = open_client(settings)
        migrate(client, TABLE_SCHEMA, embedded=embedded)
        return client

    return Writer(open_storage, EVENTS_TABLE)


def open_client(settings: Settings) -> Client:
    """A client of the storage that `settings` name. Raises UnavailableError."""
    dsn = settings.clickhouse_url or embedded_dsn(settings.data_dir)
    return connect(dsn, timeout_s=settings.clickhouse_timeout_seconds)


def _build_pipeline(
    settings: Settings, *, registry: CollectorRegistry, ledger: Ledger, clock: Clock
) -> _Pipeline:
    wal_root = settings.data_dir / "wal"
    wal = claim_wal(wal_root, settings.wal) if settings.wal.enabled else None
    recovered = wal.recover() if wal is not None else Recovered()
    dedup = DedupWindow[Commit](ids_max=settings.dedup.ids)
    ring = RingBuffer(
        # An earlier process may have had more slots than this one is set to.
        slots_max=settings.buffer.slots + len(recovered.backlog),
        rows_max=settings.buffer.rows,
        bytes_max=settings.buffer.bytes,
        clock=clock.monotonic_s,
    )
    journal = Journal(ring=ring, wal=wal)
    adopter = None
    if wal is not None:
        replay(wal, recovered, ring=ring, dedup=dedup, ledger=ledger)
        adopter = Adopter(
            wal_root, settings=settings.wal, own=wal, journal=journal, dedup=dedup, ledger=ledger
        )
    instruments = FlushInstruments(registry)
    dead_letters = DeadLetters(settings.data_dir, bytes_max=settings.dead_letters.bytes)
    flusher = Flusher(
        ring=ring,
        persister=Persister(
            writer=open_writer(settings),
            dead_letters=dead_letters,
            failed=instruments.storage_failed,
        ),
        ledger=ledger,
        observer=instruments,
        wal=wal,
        stream_id=wal.stream_id if wal is not None else str(uuid_utils.uuid7()),
        rows=settings.flush.rows,
        bytes=settings.flush.bytes,
        age_s=settings.flush.seconds,
        clock=clock.monotonic_s,
    )
    committer = Committer(
        journal=journal,
        dedup=dedup,
        ledger=ledger,
        wait_s=settings.buffer.commit_ms / 1000,
        rows_max=settings.buffer.commit_rows,
        retry_after_s=lambda: min(RETRY_AFTER_MAX_S, max(1, round(flusher.drain_s()))),
    )
    ingestor = Ingestor(
        committer=committer,
        ledger=ledger,
        clock=clock,
        stored=lambda: asyncio.wrap_future(flusher.stored()),
        stored_timeout_s=settings.ack.stored_seconds,
    )
    return _Pipeline(ingestor, committer, journal, ring, flusher, dedup, wal, dead_letters, adopter)
