"""The measurements of one step of a scenario."""

import msgspec


class Step(msgspec.Struct, frozen=True):
    """The measurements with one number of users.

    Attributes:
        users: number of users.
        requests_per_s: responses per second.
        events_per_s: events acknowledged per second.
        p50_ms: median time of a request.
        p99_ms: 99th percentile of the time of a request.
        p999_ms: 99.9th percentile of the time of a request.
        failures: requests that failed.
        cpu_us_per_event: CPU time of the service; per request if requests have no events.
        service_cores: cores that the service used on average.
        client_cores: cores that the client (Locust) used on average. Near 1 it is the limit.
        rss_bytes: memory of the service at the end of the step.
        backlog: events acknowledged but not stored at the end of the step.
    """

    users: int
    requests_per_s: float
    events_per_s: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    failures: int
    cpu_us_per_event: float
    service_cores: float
    client_cores: float
    rss_bytes: int
    backlog: int

    @property
    def is_sustained(self) -> bool:
        """Whether nothing failed and storage was at most 3 s behind."""
        return not self.failures and self.backlog <= 3 * self.events_per_s + 1_000
