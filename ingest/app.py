"""The composition root: the one place that knows every part and joins them."""

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path

import orjson
import prometheus_client
from falcon.asgi import Request, Response
from prometheus_client import CollectorRegistry, generate_latest

from ingest.auth.access import SECURITY_HEADERS, build_access
from ingest.clock import Clock
from ingest.config.settings import Settings
from ingest.event.arrow import TABLE_SCHEMA
from ingest.event.from_row import restore
from ingest.http import errors as http_errors
from ingest.http.asgi import AsgiApp, CancelOnDisconnect, HeadAsGet, LastResort
from ingest.http.body import DeferredErrors, RequestBodyMiddleware
from ingest.http.fast_path import FastPath, Plain
from ingest.http.openapi import openapi_document
from ingest.http.resources import AckPolicy, BatchResource, EventResource
from ingest.http.routes import Joined, build_routes
from ingest.http.swagger import STATIC_DIR, STATIC_PATH, docs_routes
from ingest.ledger import Ledger
from ingest.monitoring.health import LiveResource, ReadyResource
from ingest.monitoring.instruments import EventCountsCollector, RequestInstruments
from ingest.monitoring.ledger_report import LedgerResource
from ingest.monitoring.prometheus import ScrapeResource
from ingest.monitoring.saturation import SaturationHeader
from ingest.parsing.parser import EVENT, JSON_TYPES, LINES, LIST, NDJSON_TYPES, Parser
from ingest.pipeline.batcher import RequestBatcher
from ingest.wiring.pipeline import Pipeline, build_pipeline, open_reading_client
from ingest.worker.freshness import LocalFreshness, ServiceFreshness
from ingest.worker.lifespan import Lifespan
from ingest.worker.peers import Peers
from ingest.worker.recovery import replay_retained
from ingest.worker.storage_watch import StorageWatch
from metrics_api import errors as query_errors
from metrics_api.instruments import QueryInstruments
from metrics_api.openapi import metrics_paths, recent_operation
from metrics_api.routes import query_resources
from metrics_api.serving.cache import Cache, MemoryCache
from metrics_api.serving.resources import QueryContext
from metrics_api.serving.single_flight import SingleFlightCache
from storage.clickhouse.client import embedded_dsn
from storage.clickhouse.reader import Reader
from storage.tables.cluster import ClusterLayout


def create_app(
    settings: Settings,
    *,
    peers_dir: Path | None = None,
    undrained: Callable[[], None] = lambda: None,
    clock: Clock | None = None,
) -> AsgiApp:
    """One worker of the service, to be started by the ASGI lifespan.

    peers_dir: shared by the workers of one service, None for a worker alone; undrained: called at
    the end of a shutdown that left something to be stored.
    """
    clock = clock or Clock()
    registry = CollectorRegistry()
    prometheus_client.ProcessCollector(registry=registry)
    ledger = Ledger()
    limits = settings.limits
    pipeline = build_pipeline(settings, registry=registry, ledger=ledger, clock=clock)
    registry.register(
        EventCountsCollector(
            ledger=ledger,
            ring=pipeline.ring,
            wal=pipeline.wal,
            dead_letters=pipeline.dead_letters,
        )
    )
    reader = Reader(
        lambda: open_reading_client(settings),
        clients=settings.query.concurrency,
        timeout_s=settings.query.seconds,
        waiting_max=settings.query.waiting,
        memory_bytes_max=settings.query.memory_bytes,
        read_rows_max=settings.query.read_rows,
        result_rows_max=settings.query.result_rows,
    )
    local = LocalFreshness(
        committer=pipeline.committer,
        wal_writer=pipeline.wal_writer,
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

    freshness = ServiceFreshness(local=local, peers=peers)
    query_parts = _query_parts(settings, registry, reader, freshness, clock)
    questions = query_resources(query_parts, schema=TABLE_SCHEMA, restore=restore)

    async def mend() -> int:
        if pipeline.wal is None:
            return 0
        return await replay_retained(pipeline.wal, ring=pipeline.ring, ledger=ledger)

    watch = StorageWatch(
        reader=reader,
        flusher=pipeline.flusher,
        dedup=pipeline.dedup,
        mend=mend,
        layout=ClusterLayout(settings.clickhouse_cluster),
        recent_s=settings.dedup.warm_seconds,
        ids_max=settings.dedup.ids,
    )
    lifespan = Lifespan(
        ingestor=pipeline.ingestor,
        wal_writer=pipeline.wal_writer,
        flusher=pipeline.flusher,
        reader=reader,
        peers=peers,
        adopter=pipeline.adopter,
        watch=watch,
        close_cache=query_parts.responses.close,
        shutdown_s=settings.shutdown_seconds,
        undrained=undrained,
    )
    access = build_access(settings)

    async def count(req: Request, resp: Response, events: int) -> None:
        await access.limits.take("events", req, resp, events)

    parser = Parser(
        decompressed_bytes_max=limits.decompressed_bytes, events_max=limits.events_per_request
    )
    acks = AckPolicy(default=settings.ack.level, durable=pipeline.wal_writer.durable)
    gatherers = {
        form: RequestBatcher(
            parse=partial(parser.parse_group, form),
            ingestor=pipeline.ingestor,
            durable=acks.default != "buffered",
            requests_max=settings.buffer.commit_rows,
        )
        for form in (EVENT, LIST, LINES)
    }
    events = EventResource(parser, pipeline.ingestor, acks, count, gatherers)
    batches = BatchResource(parser, pipeline.ingestor, acks, count, gatherers)
    checks: dict[str, Callable[[], str]] = {
        "storage": lambda: pipeline.flusher.state,
        "log": lambda: "ok" if pipeline.wal_writer.healthy else "failed",
        "accepting": lambda: "ok" if lifespan.open else "failed",
    }
    request_instruments = RequestInstruments(registry)
    fill = SaturationHeader(_limits_in_use(settings, pipeline), clock.monotonic_s)
    app = build_routes(
        routes={
            "/events": Joined(
                on_post=events.on_post,
                on_get=questions.pop("/events").on_get,
            ),
            "/events/batch": batches,
            **questions,
            "/metrics": ScrapeResource(expositions),
            "/debug/ledger": LedgerResource(ledgers),
            "/livez": LiveResource(),
            "/readyz": ReadyResource(checks),
            **docs_routes(openapi_document(metrics_paths(), recent_operation(), limits)),
        },
        static={STATIC_PATH: STATIC_DIR},
        statuses={**http_errors.STATUSES, **query_errors.STATUSES},
        middleware=[request_instruments, *access.middleware, DeferredErrors(), fill, lifespan],
    )
    served: AsgiApp = CancelOnDisconnect(app)
    if acks.default != "stored":  # what is gathered waits for the log, not for the table
        served = FastPath(
            served,
            plain={
                "/events": Plain(JSON_TYPES, events.answer),
                "/events/batch": Plain((*JSON_TYPES, *NDJSON_TYPES), batches.answer),
            },
            ack=acks.default,
            allows_fast_path=access.allows_fast_path,
            headers=SECURITY_HEADERS,
            fill=fill.header,
            observe=request_instruments.observe,
        )
    guarded = RequestBodyMiddleware(
        HeadAsGet(served),
        url_bytes_max=limits.url_bytes,
        head_bytes_max=limits.head_bytes,
        bytes_max=limits.body_bytes,
        held_bytes_max=limits.held_bytes,
        timeout_s=limits.body_seconds,
        allows_body=access.allows_body,
    )
    return LastResort(guarded, request_instruments.observe)


def _query_parts(
    settings: Settings,
    registry: CollectorRegistry,
    reader: Reader,
    freshness: ServiceFreshness,
    clock: Clock,
) -> QueryContext:
    instruments = QueryInstruments(registry)
    cache: Cache = MemoryCache(bytes_max=settings.cache.bytes)
    if settings.redis_url is not None:
        from metrics_api.serving.redis_cache import RedisCache

        # Services that ask the same storage may share answers, others must not.
        dsn = settings.clickhouse_url or embedded_dsn(settings.data_dir)
        cache = RedisCache(
            settings.redis_url,
            namespace=sha256(dsn.encode()).hexdigest()[:16],
            on_state=instruments.cache_is_up,
        )
    return QueryContext(
        reader=reader,
        responses=SingleFlightCache(cache, instruments),
        freshness=freshness,
        instruments=instruments,
        now_us=clock.now_us,
        flush_timeout_s=settings.query.flush_seconds,
        open_s=settings.cache.open_seconds,
        closed_s=settings.cache.closed_seconds,
    )


def _limits_in_use(
    settings: Settings, pipeline: Pipeline
) -> dict[str, tuple[Callable[[], int], int]]:
    """What is used of what, in bytes."""
    parts = {"buffer": (lambda: pipeline.ring.usage().bytes, settings.buffer.bytes)}
    if pipeline.wal is not None:
        parts["log"] = (pipeline.wal.unstored_bytes, settings.wal.bytes)
    return parts
