"""Load for a running service, which at the end must have stored exactly what it acknowledged.

    uv run locust -f bench/locustfile.py --host http://127.0.0.1:8080

with the web page on port 8089, or `--headless --users 10 --spawn-rate 10 --run-time 30s
--stop-timeout 10`. Name the kinds of users to run only some: SingleUser, BatchUser, MetricsUser,
MixedUser. Each run counts events under a name of its own, so that runs do not disturb each other.
Where a key is needed, `--key-file` names a file with one, of scopes ingest and query.
"""

import random
import uuid
from argparse import ArgumentParser
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import orjson
from locust import FastHttpUser, constant, events, task
from locust.env import Environment

from bench.generate import generate

BATCH_EVENTS = 100
POOL_EVENTS = 2_000

RUN = uuid.uuid4().hex[:12]
EVENT_NAME = f"locust_{RUN}"


class Sent:
    """What this process has sent, and what of it was acknowledged."""

    def __init__(self) -> None:
        start = datetime(2024, 1, 1, tzinfo=UTC)
        lines = generate(POOL_EVENTS, seed=1, start=start, days=31, ids=False)
        self._pool = [orjson.loads(line) | {"name": EVENT_NAME} for line in lines]
        self._numbers = count()
        self.sent = 0
        self.acknowledged = 0

    def new_events(self, size: int) -> list[dict[str, Any]]:
        self.sent += size
        return [
            event | {"id": f"{RUN}-{next(self._numbers)}"}
            for event in random.choices(self._pool, k=size)
        ]


SENT = Sent()


class EventUser(FastHttpUser):
    abstract = True
    wait_time = constant(0)

    def on_start(self) -> None:
        self.headers = {"Content-Type": "application/json", **key_headers(self.environment)}

    def post(self, path: str, value: Any, size: int) -> None:
        body = orjson.dumps(value).decode()
        with self.client.post(path, data=body, headers=self.headers, catch_response=True) as reply:
            if reply.status_code == 201:
                SENT.acknowledged += size
            else:
                reply.failure(f"status {reply.status_code}")

    def post_single(self) -> None:
        [event] = SENT.new_events(1)
        self.post("/events", event, 1)

    def post_batch(self) -> None:
        self.post("/events/batch", {"events": SENT.new_events(BATCH_EVENTS)}, BATCH_EVENTS)

    def get_metrics(self) -> None:
        group_by = random.choice(("channel", "daily", "hourly"))
        self.client.get(
            f"/events/metrics?event_name={EVENT_NAME}&group_by={group_by}",
            name=f"/events/metrics?group_by={group_by}",
            headers=self.headers,
        )


class SingleUser(EventUser):
    """Events one by one."""

    @task
    def single(self) -> None:
        self.post_single()


class BatchUser(EventUser):
    """Events in batches."""

    @task
    def batch(self) -> None:
        self.post_batch()


class MetricsUser(EventUser):
    """A dashboard."""

    wait_time = constant(0.1)

    @task
    def metrics(self) -> None:
        self.get_metrics()


class MixedUser(EventUser):
    """All of it: mostly single events, some batches, now and then a query."""

    @task(20)
    def single(self) -> None:
        self.post_single()

    @task(5)
    def batch(self) -> None:
        self.post_batch()

    @task(1)
    def metrics(self) -> None:
        self.get_metrics()


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--key-file", help="File with a key of scopes ingest and query")


def key_headers(environment: Environment) -> dict[str, str]:
    path = getattr(environment.parsed_options, "key_file", None)
    return {"Authorization": f"Bearer {Path(path).read_text().strip()}"} if path else {}


def check_that_stored_is_sent(environment: Environment, **_: Any) -> None:
    """Ends the run with exit code 1 when an event was lost or counted twice."""
    import requests  # Locust's own client for what is not load

    reply = requests.get(
        f"{environment.host}/events/metrics",
        params={"event_name": EVENT_NAME, "consistency": "flushed"},
        headers=key_headers(environment),
        timeout=60,
    )
    stored = reply.json().get("total_count")
    print(f"sent {SENT.sent}, acknowledged {SENT.acknowledged}, stored {stored}")
    # What was under way when the run ended may be stored without its reply having been seen.
    if stored is None or not SENT.acknowledged <= stored <= SENT.sent:
        print("events were lost or counted twice")
        environment.process_exit_code = 1


events.init_command_line_parser.add_listener(add_options)  # type: ignore[no-untyped-call]
events.quitting.add_listener(check_that_stored_is_sent)  # type: ignore[no-untyped-call]
