"""The composition root: the one place that knows every part and joins them."""

from collections.abc import Callable
from pathlib import Path

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
from ingest.ledger import Ledger
from ingest.lifespan import Lifespan
from ingest.openapi import openapi_document
from ingest.parse import Parser
from ingest.peers import Peers
from ingest.resources import BatchResource, EventResource
from ingest.ring_buffer import RingBuffer
from ingest.routes import build_routes
from ingest.settings import Settings
from metrics_api import errors as query_errors
from metrics_api.openapi import metrics_paths
from metrics_api.resources import MetricsResource
from metrics_api.scrape import ScrapeResource
from storage.client import connect, embedded_dsn, prepare_embedded
from storage.migrations import migrate
from storage.reader import Reader
from storage.schema import EVENTS_TABLE
from storage.writer import Writer

RETRY_AFTER_MAX_S = 60


def create_app(
    settings: Settings,
    *,
    peers_dir: Path | None = None,
    drained: Callable[[], None] = lambda: None,
    clock: Clock | None = None,
) -> AsgiApp:
    """One worker of the service, to be started by the ASGI lifespan.

    peers_dir: a directory shared by the workers of one service, None for a worker alone; drained:
    called at the end of a shutdown that left nothing in the buffer.
    """
    clock = clock or Clock()
    registry = CollectorRegistry()
    prometheus_client.ProcessCollector(registry=registry)
    ledger = Ledger()
    limits = settings.limits

    dsn = settings.clickhouse_url or embedded_dsn(settings.data_dir)
    embedded = settings.clickhouse_url is None
    if embedded:
        prepare_embedded(settings.data_dir)

    def open_storage() -> Client:
        client = connect(dsn)
        migrate(client, TABLE_SCHEMA, embedded=embedded)
        return client

    ring = RingBuffer(
        slots_max=settings.buffer.slots,
        rows_max=settings.buffer.rows,
        bytes_max=settings.buffer.bytes,
        clock=clock.monotonic_s,
    )
    flusher = Flusher(
        ring=ring,
        writer=Writer(open_storage, EVENTS_TABLE),
        ledger=ledger,
        observer=FlushInstruments(registry),
        stream_id=str(uuid_utils.uuid7()),
        rows=settings.flush.rows,
        bytes=settings.flush.bytes,
        age_s=settings.flush.seconds,
        clock=clock.monotonic_s,
    )
    committer = Committer(
        ring=ring,
        dedup=DedupWindow[Commit](ids_max=settings.dedup.ids),
        ledger=ledger,
        wait_s=settings.buffer.commit_ms / 1000,
        rows_max=settings.buffer.commit_rows,
        retry_after_s=lambda: min(RETRY_AFTER_MAX_S, max(1, round(flusher.drain_s()))),
    )
    ingestor = Ingestor(committer=committer, ledger=ledger, clock=clock)
    parser = Parser(
        decompressed_bytes_max=limits.decompressed_bytes, events_max=limits.events_per_request
    )
    reader = Reader(
        lambda: connect(dsn),
        clients=settings.query.concurrency,
        timeout_s=settings.query.seconds,
    )

    local = LocalFreshness(committer=committer, ring=ring, flusher=flusher, clock=clock)

    async def exposition() -> bytes:
        return generate_latest(registry)

    peers = Peers(peers_dir, {**local.answers(), "scrape": exposition})

    async def expositions() -> dict[int, bytes]:
        return {peers.number: await exposition(), **await peers.ask("scrape")}

    lifespan = Lifespan(
        ingestor=ingestor,
        flusher=flusher,
        reader=reader,
        peers=peers,
        shutdown_s=settings.shutdown_seconds,
        drained=drained,
    )
    registry.register(BooksCollector(ledger=ledger, ring=ring))
    metrics = MetricsResource(
        reader=reader,
        freshness=ServiceFreshness(local=local, peers=peers),
        now_us=clock.now_us,
        flush_timeout_s=settings.query.flush_seconds,
    )
    app = build_routes(
        routes={
            "/events": EventResource(parser=parser, ingestor=ingestor),
            "/events/batch": BatchResource(parser=parser, ingestor=ingestor),
            "/events/metrics": metrics,
            "/metrics": ScrapeResource(expositions),
            "/livez": LiveResource(),
            "/readyz": ReadyResource(
                {"storage": lambda: flusher.healthy, "accepting": lambda: lifespan.open}
            ),
            **docs_routes(openapi_document(metrics_paths(), limits)),
        },
        static={STATIC_PATH: STATIC_DIR},
        statuses={**http_errors.STATUSES, **query_errors.STATUSES},
        middleware=[RequestInstruments(registry), BodyErrors(), lifespan],
    )
    return BodyGuard(app, bytes_max=limits.body_bytes, timeout_s=limits.body_seconds)
