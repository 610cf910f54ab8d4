"""Step 5 of `create_app`: routes, middleware, and the ASGI apps around Falcon."""

from collections.abc import Callable

from ingest.auth.access import Access
from ingest.clock import Clock
from ingest.config.settings import Settings
from ingest.http import errors as http_errors
from ingest.http.asgi import AsgiApp, CancelOnDisconnect, HeadAsGet, LastResort
from ingest.http.body import BodyLimits, DeferredErrors, RequestBodyMiddleware
from ingest.http.fast_path import FastPath
from ingest.http.headers import AckPolicy, ResponseHeaders
from ingest.http.openapi import openapi_document
from ingest.http.resources import BatchResource, EventResource, EventsResource, SchemaResource
from ingest.http.routes import Route, RouteTable, build_falcon_app
from ingest.http.swagger import STATIC_DIR, STATIC_PATH, docs_routes
from ingest.monitoring.health import LiveResource, ReadyResource
from ingest.monitoring.instruments import RequestInstruments
from ingest.monitoring.ledger_report import LedgerResource
from ingest.monitoring.prometheus import ScrapeResource
from ingest.monitoring.saturation import Saturation
from ingest.pipeline.pipeline import Pipeline
from ingest.wiring.queries import Queries
from ingest.worker.lifespan import Lifespan
from ingest.worker.peers import Peers
from metrics_api import errors as query_errors
from metrics_api.openapi import metrics_paths, recent_operation


def build_http(
    settings: Settings,
    access: Access,
    pipeline: Pipeline,
    queries: Queries,
    peers: Peers,
    lifespan: Lifespan,
    *,
    instruments: RequestInstruments,
    clock: Clock,
) -> AsgiApp:
    """Build the ASGI app that Granian calls.

    It is made of several apps. Each wraps the one before it, and Falcon is the innermost. So a
    request passes them from the last in this function to the first.
    """
    acks = AckPolicy(default=settings.ack.level, has_wal=pipeline.wal is not None)
    saturation = Saturation(_watched(settings, pipeline), clock.monotonic_s)
    headers = ResponseHeaders(saturation.headers)
    table = _build_table(settings, access, acks, pipeline, queries, peers)
    app: AsgiApp = build_falcon_app(
        table=table,
        static={STATIC_PATH: STATIC_DIR},
        statuses={**http_errors.STATUSES, **query_errors.STATUSES},
        middleware=[
            instruments,
            headers,
            *access.middleware(table.scope_for, table.is_probe),
            DeferredErrors(),
            lifespan,
        ],
    )
    app = FastPath(
        CancelOnDisconnect(app),
        ingestor=pipeline.ingestor,
        access=access,
        acks=acks,
        response_headers=headers,
        observe=instruments.observe,
    )
    app = RequestBodyMiddleware(
        HeadAsGet(app),
        limits=BodyLimits(
            url_bytes=settings.limits.url_bytes,
            head_bytes=settings.limits.head_bytes,
            bytes=settings.limits.body_bytes,
            held_bytes=settings.limits.held_bytes,
            timeout_s=settings.limits.body_seconds,
        ),
        allows_body=access.allows_body,
    )
    return LastResort(app, instruments.observe)


def _build_table(
    settings: Settings,
    access: Access,
    acks: AckPolicy,
    pipeline: Pipeline,
    queries: Queries,
    peers: Peers,
) -> RouteTable:
    event = EventResource(ingestor=pipeline.ingestor, access=access, acks=acks)
    batch = BatchResource(ingestor=pipeline.ingestor, access=access, acks=acks)
    by_path = dict(queries.resources)
    events = EventsResource(post=event, get=by_path.pop("/events"))
    routes = [
        *(
            # A POST to a path for queries is a 405 for a key that may send events, and a 403 for
            # others.
            Route(path, resource, scope="query", post_scope="ingest")
            for path, resource in {"/events": events, "/events/batch": batch, **by_path}.items()
        ),
        Route("/events/schema", SchemaResource(), scope=None),
        Route("/metrics", ScrapeResource(lambda: peers.ask_all("scrape")), scope="admin"),
        Route("/debug/ledger", LedgerResource(lambda: peers.ask_all("ledger")), scope="admin"),
        Route("/livez", LiveResource(), scope=None, is_probe=True),
        Route("/readyz", ReadyResource(_checks(pipeline)), scope=None, is_probe=True),
    ]
    document = openapi_document(
        metrics_paths(),
        recent_operation(),
        table=RouteTable(routes),
        events_max=settings.limits.events_per_request,
        decompressed_bytes_max=settings.limits.decompressed_bytes,
    )
    return RouteTable([*routes, *docs_routes(document)])


def _checks(pipeline: Pipeline) -> dict[str, Callable[[], str]]:
    """Return the checks of /readyz, by name."""

    def wal() -> str:
        return "ok" if pipeline.wal_writer.healthy else "failed"

    return {
        "storage": lambda: pipeline.flusher.state,
        "wal": wal,
        "log": wal,  # the name of this check until version 0.1
        "accepting": lambda: "failed" if pipeline.is_closed else "ok",
    }


def _watched(settings: Settings, pipeline: Pipeline) -> dict[str, tuple[Callable[[], int], int]]:
    """Return the used bytes and the limit of each part in the saturation header, by name."""
    parts = {"buffer": (lambda: pipeline.ring.usage().bytes, settings.buffer.bytes)}
    if pipeline.wal is not None:
        parts["wal"] = (pipeline.wal.unstored_bytes, settings.wal.bytes)
    return parts
