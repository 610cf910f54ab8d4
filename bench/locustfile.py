"""Put load on a running service, and check that it stored exactly the acknowledged events.

    uv run locust -f bench/locustfile.py --host http://127.0.0.1:8080

Locust's web page is on port 8089. To run without it, add `--headless --users 10 --spawn-rate 10
--run-time 30s --stop-timeout 10`. To run only some kinds of users, add their names. With
`-f bench/locustfile.py,bench/harness/steps.py` the number of users grows in steps. Each run uses
its own event name, so that runs do not affect each other. If the service needs a key, `--key-file`
names a file with a key of the scopes ingest and query.
"""

import gzip
import random
from argparse import ArgumentParser
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

from locust import FastHttpUser, constant, events, task
from locust.env import Environment

from bench.clients.arrow import ARROW_TYPE, ArrowPool, to_stream
from bench.clients.http import batch_body
from bench.clients.pool import EventPool

POOL_EVENTS = 2_000
DUPLICATES_EVERY = 10
START = datetime(2024, 1, 1, tzinfo=UTC)

POOL = EventPool(POOL_EVENTS, start=START, days=31, name="locust")


class Sent:
    """Counts of the events that this process sent, without repeated ones.

    Attributes:
        sent: events sent.
        acknowledged: events acknowledged with a 201.
    """

    sent = 0
    acknowledged = 0


def new_events(size: int) -> list[bytes]:
    """Return `size` new events, and count them as sent."""
    Sent.sent += size
    return POOL.take(size)


class ServiceUser(FastHttpUser):
    """A client of the service, without tasks.

    Attributes:
        events: number of events in a request.
        path: path of the requests.
        content_type: media type of the bodies.
        encoding: Content-Encoding of the bodies, empty for none.
    """

    abstract = True
    wait_time = constant(0)
    events = 1
    path = "/events/batch"
    content_type = "application/json"
    encoding = ""

    def on_start(self) -> None:
        """Make the headers of all requests."""
        self.headers = {"Content-Type": self.content_type, **key_headers(self.environment)}
        if self.encoding:
            self.headers["Content-Encoding"] = self.encoding

    def post(self, body: bytes, size: int, path: str = "") -> None:
        """Send a request, and count its events if they are acknowledged.

        Args:
            body: the body.
            size: number of new events in the body.
            path: path of the request; `self.path` if empty.
        """
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
    """Sends requests of one kind, one after the other."""

    abstract = True

    @task
    def request(self) -> None:
        """Send one request."""
        self.send()

    def send(self) -> None:
        """Send new events."""
        self.post(self.body(new_events(self.events)), self.events)

    def body(self, texts: list[bytes]) -> bytes:
        """Return the body for events, which are JSON texts."""
        return batch_body(texts)


class SingleUser(EventUser):
    """Sends single events."""

    path = "/events"

    def body(self, texts: list[bytes]) -> bytes:
        """Return the only event."""
        return texts[0]


class Batch10User(EventUser):
    """Sends batches of 10."""

    events = 10


class Batch100User(EventUser):
    """Sends batches of 100."""

    events = 100


class Batch1000User(EventUser):
    """Sends batches of 1,000."""

    events = 1_000


class Batch10000User(EventUser):
    """Sends batches of 10,000."""

    events = 10_000


class ArrowUser(EventUser):
    """Sends batches of 10,000 as Arrow."""

    events = 10_000
    content_type = ARROW_TYPE

    def on_start(self) -> None:
        """Make the headers, and the contents of all batches."""
        super().on_start()
        arrow_pool(self.events)

    def send(self) -> None:
        """Send new events, which are never JSON."""
        Sent.sent += self.events
        self.post(to_stream(arrow_pool(self.events).take()), self.events)


@cache
def arrow_pool(batch_events: int) -> ArrowPool:
    """Return the supply of batches that all users share."""
    return ArrowPool(POOL, batch_events)


class NdjsonUser(EventUser):
    """Sends NDJSON with 1,000 events."""

    events = 1_000
    content_type = "application/x-ndjson"

    def body(self, texts: list[bytes]) -> bytes:
        """Return one event per line."""
        return b"\n".join(texts)


class GzipUser(EventUser):
    """Sends batches of 1,000, compressed with gzip."""

    events = 1_000
    encoding = "gzip"

    def body(self, texts: list[bytes]) -> bytes:
        """Return a compressed batch."""
        return gzip.compress(batch_body(texts), compresslevel=1)


class DuplicatesUser(EventUser):
    """Sends batches of 1,000. Every tenth event was also in the batch before."""

    events = 1_000
    repeated: tuple[bytes, ...] = ()

    def send(self) -> None:
        """Send new events together with some of the batch before."""
        texts = new_events(self.events - len(self.repeated))
        new = len(texts)
        texts += self.repeated
        random.shuffle(texts)
        self.post(batch_body(texts), new)
        self.repeated = tuple(texts[: self.events // DUPLICATES_EVERY])


class MetricsUser(ServiceUser):
    """Sends queries, as a dashboard does."""

    @task
    def ask(self) -> None:
        """Send one query."""
        group_by = random.choice(("channel", "daily", "hourly"))
        query = urlencode({"event_name": POOL.name, "group_by": group_by})
        self.client.get(f"/events/metrics?{query}", name="/events/metrics", headers=self.headers)


class MixedUser(MetricsUser):
    """Sends mostly single events, some batches, and a few queries."""

    @task(20)
    def single(self) -> None:
        """Send a single event."""
        [text] = new_events(1)
        self.post(text, 1, "/events")

    @task(5)
    def batch(self) -> None:
        """Send a batch of 100."""
        self.post(batch_body(new_events(100)), 100, "/events/batch")


def add_options(parser: ArgumentParser) -> None:
    """Add the options to Locust's command line."""
    parser.add_argument("--key-file", help="File with a key of the scopes ingest and query")


def key_headers(environment: Environment) -> dict[str, str]:
    """Return the header with the key, if there is one."""
    path = getattr(environment.parsed_options, "key_file", None)
    return {"Authorization": f"Bearer {Path(path).read_text().strip()}"} if path else {}


def check_that_stored_is_sent(environment: Environment, **_: Any) -> None:
    """End the run with exit code 1 if an event was lost or counted twice."""
    import requests  # not Locust's client: this request is not part of the load

    reply = requests.get(
        f"{environment.host}/events/metrics",
        params={"event_name": POOL.name, "consistency": "flushed"},
        headers=key_headers(environment),
        timeout=60,
    )
    stored = reply.json().get("total_count")
    print(f"sent {Sent.sent:,}, acknowledged {Sent.acknowledged:,}, stored {stored:,}")
    # Events that were in flight at the end may be stored, but their response was not seen.
    if stored is None or not Sent.acknowledged <= stored <= Sent.sent:
        print("events were lost or counted twice")
        environment.process_exit_code = 1


events.init_command_line_parser.add_listener(add_options)  # type: ignore[no-untyped-call]
events.quitting.add_listener(check_that_stored_is_sent)  # type: ignore[no-untyped-call]
