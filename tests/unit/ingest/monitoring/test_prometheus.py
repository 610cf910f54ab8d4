"""The expositions of several workers are merged into one."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ingest.monitoring.prometheus import merge


def exposition(requests: int) -> bytes:
    registry = CollectorRegistry()
    counter = Counter("requests", "Requests", ["route"], registry=registry)
    counter.labels('/a"\\\n').inc(requests)
    Histogram("seconds", "Time", registry=registry, buckets=(1,)).observe(requests)
    return generate_latest(registry)


def test_each_series_carries_its_worker_and_each_family_is_described_once() -> None:
    merged = merge({1: exposition(3), 2: exposition(4)}).decode()
    assert merged.count("# TYPE requests_total counter") == 1
    samples = [
        (sample.labels["worker"], sample.labels["route"], sample.value)
        for family in text_string_to_metric_families(merged)
        for sample in family.samples
        if sample.name == "requests_total"
    ]
    assert samples == [("1", '/a"\\\n', 3.0), ("2", '/a"\\\n', 4.0)]
    assert 'seconds_bucket{le="1.0",worker="2"} 0.0' in merged
