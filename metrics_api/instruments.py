"""Prometheus instruments of the query API."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

CacheResult = Literal["hit", "miss", "shared", "bypass"]
"""How a query was answered.

hit: from the cache; miss: computed; shared: by a computation that was already running; bypass:
computed without a look in the cache.
"""


class QueryInstruments:
    """Counters, a histogram and a gauge of queries and their cache."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the instruments in `registry`."""
        self._cache = Counter(
            "event_stream_query_cache",
            "Queries by how they were answered; the hit ratio is (hit + shared) / all",
            ["result"],
            registry=registry,
        )
        self._abandoned = Counter(
            "event_stream_queries_abandoned",
            "Queries cancelled because every client that waited for them disconnected",
            registry=registry,
        )
        self._seconds = Histogram(
            "event_stream_query_seconds",
            "Time that storage took for a query",
            ["endpoint", "question"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=registry,
        )
        self._redis = Gauge(
            "event_stream_cache_up",
            "Whether the cache in Redis answers; 1 without Redis",
            registry=registry,
        )
        self._redis.set(1)

    def cache(self, result: CacheResult) -> None:
        """Count a query by how it was answered."""
        self._cache.labels(result).inc()

    def abandoned(self) -> None:
        """Count a query that was cancelled because no client waited for it."""
        self._abandoned.inc()

    def cache_is_up(self, is_up: bool) -> None:
        """Record whether Redis answers."""
        self._redis.set(is_up)

    @contextmanager
    def timed(self, endpoint: str) -> Iterator[None]:
        """Measure the time of a query.

        Args:
            endpoint: name of the endpoint; the series carry it as the label `endpoint`, and as
                `question` until version 0.2.
        """
        with self._seconds.labels(endpoint, endpoint).time():
            yield
