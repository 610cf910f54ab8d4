"""Load that remembers which events were sent and acknowledged, and compares them with storage.

The invariant after every fault: acknowledged ⊆ stored ⊆ sent, each event is stored once, and the
event counts add up.
"""

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
import urllib3

from bench.harness.service import Service
from storage.clickhouse.client import embedded_dsn
from tests.end_to_end.api import books, count, event, post

KILLS = int(os.environ.get("FAULT_KILLS", "5"))
"""How often the service is killed, for each kind of storage. FAULT_KILLS changes it."""

RSS_BYTES_MAX = 1_200_000_000
"""Memory limit of each process of the service."""


class Load:
    """Threads that send events with unique ids until they are stopped.

    Attributes:
        sent: ids of all events that were sent.
        acknowledged: ids of all events that were acknowledged.
        refused: number of responses with status 503.
    """

    def __init__(
        self,
        service: Service,
        *,
        seed: int,
        threads: int = 4,
        repeats: int = 1,
        sizes: Sequence[int] = (1, 1, 1, 1, 1, 5, 5, 50, 50, 300),
    ) -> None:
        """Prepare the load; `with` starts and stops it.

        Args:
            service: the service under test.
            seed: seed of the random choices.
            threads: number of threads that send.
            repeats: how often a request is sent at most until it counts as done.
            sizes: how many events a request may have. Each entry has the same probability.
        """
        self._service = service
        self._repeats = repeats
        self._sizes = sizes
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.sent: set[str] = set()
        self.acknowledged: set[str] = set()
        self.refused = 0
        self._threads = [
            threading.Thread(target=self._run, args=(f"{seed}-{n}", random.Random(seed * 100 + n)))
            for n in range(threads)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)

    def wait_for(self, acknowledged: int, timeout_s: float = 60) -> None:
        deadline_s = time.monotonic() + timeout_s
        while len(self.acknowledged) < acknowledged:
            assert time.monotonic() < deadline_s, f"only {len(self.acknowledged)} acknowledged"
            time.sleep(0.01)

    def _run(self, prefix: str, rng: random.Random) -> None:
        number = 0
        while not self._stop.is_set():
            size = rng.choice(self._sizes)
            ids = [f"{prefix}-{number + index}" for index in range(size)]
            number += size
            with self._lock:
                self.sent |= set(ids)
            self._send(ids, attempts=rng.randint(1, self._repeats))

    def _send(self, ids: list[str], attempts: int) -> None:
        """Send a request until it is acknowledged `attempts` times.

        So it repeats acknowledged requests, like a client that did not get the response.
        """
        # About half of the events state a time. The others are identified by name and id only.
        events = [event("fault", id=i, **({"timestamp": 1} if len(i) % 2 else {})) for i in ids]
        while attempts and not self._stop.is_set():
            try:
                reply = post(self._service, "/events/batch", {"events": events})
            except urllib3.exceptions.HTTPError:
                time.sleep(0.02)
                continue
            if reply.status == 201:
                assert orjson.loads(reply.data)["ids"] == ids
                attempts -= 1
                with self._lock:
                    self.acknowledged |= set(ids)
            else:
                assert reply.status == 503, reply.data
                assert int(reply.headers["Retry-After"]) >= 1
                self.refused += 1
                time.sleep(0.02)


def wait_until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "the condition did not hold in time"
        time.sleep(0.05)


def stored_ids(dsn: str) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-m", "tests.faults.stored_ids", dsn],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return result.stdout.split()


def assert_nothing_lost_or_doubled(
    service: Service, data_dir: Path, url: str | None, *loads: Load
) -> None:
    """Check the invariant, and the memory of a running service. Stops the service."""
    sent = set().union(*(load.sent for load in loads))
    acknowledged = set().union(*(load.acknowledged for load in loads))
    counted = count(service, "fault")
    assert service.processes.rss_peak_bytes() < RSS_BYTES_MAX * len(service.processes.pids())
    total = books(service)
    outcomes = ("stored", "duplicate", "rejected", "refused", "lost")
    settled = sum(total[f"{name}_total"] for name in outcomes)
    assert total["received_total"] == settled + total["in_flight"]
    assert service.stop() == 0
    stored = stored_ids(url or embedded_dsn(data_dir))
    assert len(stored) == len(set(stored)) == counted
    assert not acknowledged - set(stored), "events were acknowledged and lost"
    assert not set(stored) - sent, "events were stored and never sent"
