"""The composition root: builds one worker of the service, step by step."""

from collections.abc import Callable
from pathlib import Path

import prometheus_client
from prometheus_client import CollectorRegistry

from ingest.clock import Clock
from ingest.config.settings import Settings
from ingest.http.asgi import AsgiApp
from ingest.ledger import Ledger
from ingest.monitoring.instruments import RequestInstruments
from ingest.wiring.access import build_access
from ingest.wiring.http import build_http
from ingest.wiring.pipeline import build_pipeline
from ingest.wiring.queries import build_queries
from ingest.wiring.storage import build_storage
from ingest.wiring.worker import build_lifespan, build_peers
from ingest.worker.freshness import LocalFreshness, ServiceFreshness


def create_app(
    settings: Settings,
    *,
    peers_dir: Path | None = None,
    undrained: Callable[[], None] = lambda: None,
    clock: Clock | None = None,
) -> AsgiApp:
    """Build one worker. The ASGI lifespan starts it.

    Args:
        settings: settings of the service.
        peers_dir: directory that the workers of one service share; None for one worker.
        undrained: called at the end of a stop that could not store all events.
        clock: clock for all parts; by default the clock of the machine.

    Raises:
        KeysError: the file with the keys can't be read.
        OSError: the data directory can't be read or written.
    """
    clock = clock or Clock()
    ledger = Ledger()
    registry = CollectorRegistry()
    prometheus_client.ProcessCollector(registry=registry)
    access = build_access(settings)

    storage = build_storage(settings)
    pipeline = build_pipeline(settings, storage, registry=registry, ledger=ledger, clock=clock)
    local = LocalFreshness(pipeline=pipeline, clock=clock)
    peers = build_peers(peers_dir, local, registry=registry, ledger=ledger)
    freshness = ServiceFreshness(local=local, peers=peers)
    queries = build_queries(settings, storage, freshness, registry=registry, clock=clock)
    lifespan = build_lifespan(
        settings, storage, pipeline, queries, peers, ledger=ledger, undrained=undrained
    )
    return build_http(
        settings,
        access,
        pipeline,
        queries,
        peers,
        lifespan,
        instruments=RequestInstruments(registry),
        clock=clock,
    )
