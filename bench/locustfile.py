"""Load for a running service, which at the end must have stored exactly what it acknowledged.

    uv run locust -f bench/locustfile.py --host http://127.0.0.1:8080

with the web page on port 8089, or `--headless --users 10 --spawn-rate 10 --run-time 30s
--stop-timeout 10`. Name the kinds of users to run only some of them; with `-f
bench/locustfile.py,bench/steps.py` the users grow in steps. Each run counts events under a name of
its own, so that runs do not disturb each other. Where a key is needed, `--key-file` names a file
with one, of scopes ingest and query.
"""

import gzip
import random
from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

from locust import FastHttpUser, constant, events, task
from locust.env import Environment

from bench.clients.http import batch_body
from bench.clients.pool import EventPool

POOL_EVENTS = 2_000
DUPLICATES_EVERY = 10
START = datetime(2024, 1, 1, tzinfo=UTC)

POOL = EventPool(POOL_EVENTS, start=START, days=31, name="locust")


class Sent:
    """What this process has sent, and what of it was acknowledged; each event once."""

    sent = 0
    acknowledged = 0


def new_events(size: int) -> list[bytes]:
    Sent.sent += size
    return POOL.take(size)


class ServiceUser(FastHttpUser):
    """events: in a request."""

    abstract = True
    wait_time = constant(0)
    events = 1
    path = "/events/batch"
    content_type = "application/json"
    encoding = ""

    def on_start(self) -> None:
        self.headers = {"Content-Type": self.content_type, **key_headers(self.environment)}
        if self.encoding:
            self.headers["Content-Encoding"] = self.encoding

    def post(self, body: bytes, size: int, path: str = "") -> None:
        """size: how many of the events are new."""
        path = path or self.path
        name = f"{path} ({self.events:,} events)" if path == self.path else path
        with self.client.post(
            path, data=cast(Any, body), headers=self.headers, name=name, catch_response=True
        ) as reply:
            if reply.status_code == 201:
                Sent.acknowledged += size
            else:
                reply.failure(f"status {reply.status_code}")


class EventUser(ServiceUser):
    """Sends requests alike, one after the other."""

    abstract = True

    @task
    def request(self) -> None:
        self.send()

    def send(self) -> None:
        self.post(self.body(new_events(self.events)), self.events)

    def body(self, texts: list[bytes]) -> bytes:
        return batch_body(texts)


class SingleUser(EventUser):
    """Events one by one."""

    path = "/events"

    def body(self, texts: list[bytes]) -> bytes:
        return texts[0]


class Batch10User(EventUser):
    """Batches of 10."""

    events = 10


class Batch100User(EventUser):
    """Batches of 100."""

    events = 100


class Batch1000User(EventUser):
    """Batches of 1,000."""

    events = 1_000


class Batch10000User(EventUser):
    """Batches of 10,000."""

    events = 10_000


class NdjsonUser(EventUser):
    """1,000 events, one a line."""

    events = 1_000
    content_type = "application/x-ndjson"

    def body(self, texts: list[bytes]) -> bytes:
        return b"\n".join(texts)


class GzipUser(EventUser):
    """Batches of 1,000, compressed."""

    events = 1_000
    encoding = "gzip"

    def body(self, texts: list[bytes]) -> bytes:
        return gzip.compress(batch_body(texts), compresslevel=1)


class DuplicatesUser(EventUser):
    """Batches of 1,000, of which every tenth event was in the batch before."""

    events = 1_000
    known: tuple[bytes, ...] = ()

    def send(self) -> None:
        texts = new_events(self.events - len(self.known))
        fresh = len(texts)
        texts += self.known
        random.shuffle(texts)
        self.post(batch_body(texts), fresh)
        self.known = tuple(texts[: self.events // DUPLICATES_EVERY])


class MetricsUser(ServiceUser):
    """A dashboard."""

    @task
    def ask(self) -> None:
        group_by = random.choice(("channel", "daily", "hourly"))
        query = urlencode({"event_name": POOL.name, "group_by": group_by})
        self.client.get(f"/events/metrics?{query}", name="/events/metrics", headers=self.headers)


class MixedUser(MetricsUser):
    """All of it: mostly single events, some batches, now and then a question."""

    @task(20)
    def single(self) -> None:
        [text] = new_events(1)
        self.post(text, 1, "/events")

    @task(5)
    def batch(self) -> None:
        self.post(batch_body(new_events(100)), 100, "/events/batch")


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
        params={"event_name": POOL.name, "consistency": "flushed"},
        headers=key_headers(environment),
        timeout=60,
    )
    stored = reply.json().get("total_count")
    print(f"sent {Sent.sent:,}, acknowledged {Sent.acknowledged:,}, stored {stored:,}")
    # What was under way when the run ended may be stored without its reply having been seen.
    if stored is None or not Sent.acknowledged <= stored <= Sent.sent:
        print("events were lost or counted twice")
        environment.process_exit_code = 1


events.init_command_line_parser.add_listener(add_options)  # type: ignore[no-untyped-call]
events.quitting.add_listener(check_that_stored_is_sent)  # type: ignore[no-untyped-call]
