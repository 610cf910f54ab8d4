"""Step 4 of `create_app`: the connection to the other workers, and the start and stop."""

from collections.abc import Callable
from pathlib import Path

import orjson
from prometheus_client import CollectorRegistry, generate_latest

from ingest.config.settings import Settings
from ingest.ledger import Ledger
from ingest.pipeline.pipeline import Pipeline
from ingest.wiring.pipeline import wal_limits
from ingest.wiring.queries import Queries
from ingest.wiring.storage import Storage
from ingest.worker.freshness import LocalFreshness
from ingest.worker.lifespan import Lifespan
from ingest.worker.peers import Peers
from ingest.worker.recovery import Adopter
from ingest.worker.storage_watch import StorageWatch


def build_peers(
    directory: Path | None,
    local: LocalFreshness,
    *,
    registry: CollectorRegistry,
    ledger: Ledger,
) -> Peers:
    """Build the connection to the other workers; `directory` is None for one worker."""

    async def scrape() -> bytes:
        return generate_latest(registry)

    async def read_ledger() -> bytes:
        return orjson.dumps(ledger.read())

    return Peers(directory, {**local.handlers(), "scrape": scrape, "ledger": read_ledger})


def build_lifespan(
    settings: Settings,
    storage: Storage,
    pipeline: Pipeline,
    queries: Queries,
    peers: Peers,
    *,
    ledger: Ledger,
    undrained: Callable[[], None],
) -> Lifespan:
    """Build the object that starts and stops the worker."""
    return Lifespan(
        pipeline=pipeline,
        peers=peers,
        watch=StorageWatch(
            reader=storage.reader,
            pipeline=pipeline,
            ledger=ledger,
            layout=storage.layout,
            recent_s=settings.dedup.warm_seconds,
            keys_max=settings.dedup.ids,
        ),
        adopter=_build_adopter(settings, pipeline, ledger),
        close_queries=queries.close,
        shutdown_s=settings.shutdown_seconds,
        undrained=undrained,
    )


def _build_adopter(settings: Settings, pipeline: Pipeline, ledger: Ledger) -> Adopter | None:
    if pipeline.wal is None:
        return None
    return Adopter(
        settings.wal_dir,
        limits=wal_limits(settings),
        own=pipeline.wal,
        wal_writer=pipeline.wal_writer,
        dedup=pipeline.dedup,
        ledger=ledger,
    )
