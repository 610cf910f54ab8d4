"""Load with a memory: what was sent, what was acknowledged, and whether storage agrees.

The invariant after every fault: acknowledged ⊆ stored ⊆ sent, each once, and the books balance.
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
"""Kills for each kind of storage: a few in every run, 200 by FAULT_KILLS=200."""

RSS_BYTES_MAX = 1_200_000_000
"""For each process."""


class Load:
    """Threads that send events with ids of their own until told to stop.

    repeats: up to how often a request is sent again although it was answered; sizes: how many
    events a request has, each as likely as any other.
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
        """Until it is acknowledged `attempts` times, as a client does that gets no answer."""
        # Half of them with a time, half keyed by their id alone.
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
        assert time.monotonic() < deadline_s, "not within the time"
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
    """Of a service that runs; it is stopped on the way."""
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
    assert not acknowledged - set(stored), "acknowledged and lost"
    assert not set(stored) - sent, "stored and never sent"
