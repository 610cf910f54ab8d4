"""What was measured in one step of a scenario."""

import msgspec


class Step(msgspec.Struct, frozen=True):
    """What one number of users brought about.

    p50_ms to p999_ms: of requests; cpu_us_per_event: of each request where they have no events;
    failures: of them; service_cores, client_cores: CPU used, where
    near 1 the client (Locust) can do no more; backlog: events acknowledged and not stored yet at
    the end of the step.
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
        """Whether nothing failed, and storage was at most 3 s behind."""
        return not self.failures and self.backlog <= 3 * self.events_per_s + 1_000
