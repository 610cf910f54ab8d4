"""The Prometheus series of requests."""

from prometheus_client import CollectorRegistry

from ingest.monitoring.instruments import RequestInstruments


def test_requests_are_counted_by_status_and_timed_by_route() -> None:
    registry = CollectorRegistry()
    instruments = RequestInstruments(registry)
    for status, took_s in ((201, 0.0005), (201, 0.001), (400, 0.003), (201, 60.0)):
        instruments.observe("POST", "/events", status, took_s)
    labels = {"method": "POST", "route": "/events"}

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"event_stream_{name}", labels)

    assert value("requests_total", **labels, status="201") == 3
    assert value("requests_total", **labels, status="400") == 1
    assert value("request_seconds_sum", route="/events") == 60.0045
    assert value("request_seconds_count", route="/events") == 4
    for bound, count in (("0.001", 2), ("0.0025", 2), ("0.005", 3), ("10.0", 3), ("+Inf", 4)):
        assert value("request_seconds_bucket", route="/events", le=bound) == count
