"""Step 3 of `create_app`: the query side."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from prometheus_client import CollectorRegistry

from ingest.clock import Clock
from ingest.config.settings import Settings
from ingest.event.arrow import TABLE_SCHEMA
from ingest.event.from_row import restore
from ingest.wiring.storage import Storage, storage_dsn
from ingest.worker.freshness import ServiceFreshness
from metrics_api.instruments import QueryInstruments
from metrics_api.routes import query_resources
from metrics_api.serving.cache import Cache, MemoryCache
from metrics_api.serving.resources import QueryContext, QueryResource
from metrics_api.serving.single_flight import SingleFlightCache
from storage.clickhouse.reader import Reader


@dataclass(frozen=True, slots=True)
class Queries:
    """The query side of a worker.

    Attributes:
        resources: Falcon resources by path.
        responses: the cache of responses; runs the queries that are missing in it.
        reader: queries the tables.
    """

    resources: Mapping[str, QueryResource]
    responses: SingleFlightCache
    reader: Reader

    async def close(self) -> None:
        """Stop the running queries and close the cache."""
        await self.responses.close()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self.reader.close)


def build_queries(
    settings: Settings,
    storage: Storage,
    freshness: ServiceFreshness,
    *,
    registry: CollectorRegistry,
    clock: Clock,
) -> Queries:
    """Build the resources of all queries, and their cache."""
    instruments = QueryInstruments(registry)
    responses = SingleFlightCache(_build_cache(settings, instruments), instruments)
    context = QueryContext(
        reader=storage.reader,
        responses=responses,
        freshness=freshness,
        instruments=instruments,
        now_us=clock.now_us,
        flush_timeout_s=settings.query.flush_seconds,
        open_s=settings.cache.open_seconds,
        closed_s=settings.cache.closed_seconds,
    )
    resources = query_resources(context, schema=TABLE_SCHEMA, restore=restore)
    return Queries(resources, responses, storage.reader)


def _build_cache(settings: Settings, instruments: QueryInstruments) -> Cache:
    if settings.redis_url is None:
        return MemoryCache(bytes_max=settings.cache.bytes)
    # Imported late: the Redis client takes half a second to import.
    from metrics_api.serving.redis_cache import RedisCache

    # Services with the same storage may share cached responses. Other services must not.
    namespace = sha256(storage_dsn(settings).encode()).hexdigest()[:16]
    return RedisCache(settings.redis_url, namespace=namespace, on_state=instruments.cache_is_up)
