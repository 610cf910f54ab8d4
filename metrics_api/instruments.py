"""What Prometheus learns of the query side."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

CacheResult = Literal["hit", "miss", "shared", "bypass"]


class QueryInstruments:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._cache = Counter(
            "event_stream_query_cache",
            "Questions by how they were answered: the hit ratio is hit and shared of all",
            ["result"],
            registry=registry,
        )
        self._abandoned = Counter(
            "event_stream_queries_abandoned",
            "Questions given up because everyone who asked went away",
            registry=registry,
        )
        self._seconds = Histogram(
            "event_stream_query_seconds",
            "Time that storage took for a question",
            ["question"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=registry,
        )
        self._redis = Gauge("event_stream_cache_up", "Whether the cache answers", registry=registry)
        self._redis.set(1)

    def cache(self, result: CacheResult) -> None:
        self._cache.labels(result).inc()

    def abandoned(self) -> None:
        self._abandoned.inc()

    def cache_is_up(self, is_up: bool) -> None:
        self._redis.set(is_up)

    @contextmanager
    def timed(self, question: str) -> Iterator[None]:
        with self._seconds.labels(question).time():
            yield
