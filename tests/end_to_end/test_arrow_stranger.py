"""A stranger's kit for Arrow: each stream refused with the right status, good traffic unharmed."""

import gzip
import random
import time

import pytest

from bench.harness.service import Service
from ingest.parsing.compression import zstd
from ingest.parsing.formats import ARROW_TYPE
from tests.end_to_end.api import count, post
from tests.end_to_end.arrow_messages import messages
from tests.end_to_end.arrow_mutations import ROWS, events, rich, written
from tests.end_to_end.hostile_streams import ODD, TOO_MUCH
from tests.end_to_end.lying_streams import LYING
from tests.end_to_end.test_stranger import flat_memory, good_traffic

# What a stranger meets is the same whatever storage there is.
SERVICE_MODES = ("embedded",)
REFUSED = {**LYING, **TOO_MUCH}
SECONDS_MAX = 3


def send(service: Service, stream: bytes, path: str = "/events/batch", **headers: str) -> int:
    started_s = time.monotonic()
    reply = post(service, path, body=stream, content_type=ARROW_TYPE, **headers)
    assert time.monotonic() - started_s < SECONDS_MAX
    assert reply.status < 300 or reply.json()["code"] == reply.status
    return reply.status


@pytest.fixture(scope="module")
def worker(service: Service) -> Service:
    """The service, after it has taken what needs memory the first time."""
    for stream in ODD.values():
        assert send(service, stream()) == 201
    return service


@pytest.mark.parametrize("kind", REFUSED)
def test_a_hostile_stream_is_refused(worker: Service, kind: str) -> None:
    status, stream = REFUSED[kind]
    body = stream()
    pids = worker.processes.pids()
    with flat_memory(worker):
        assert send(worker, body) == status
        assert send(worker, body, "/events/batch?partial=true") == status
    assert worker.processes.pids() == pids


def test_hostile_streams_do_no_harm_to_those_who_send_events_meanwhile(worker: Service) -> None:
    bodies = [(status, stream()) for status, stream in REFUSED.values()]
    with good_traffic(worker, "beside_arrow"), flat_memory(worker):
        for status, body in bodies * 2:
            assert send(worker, body) == status
    assert worker.request("GET", "/debug/ledger").json()["balanced"]


@pytest.mark.parametrize("kind", ODD)
def test_a_stream_that_is_only_odd_is_taken(worker: Service, kind: str) -> None:
    assert send(worker, ODD[kind]()) == 201


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_a_stream_that_is_cut_off_anywhere_stores_nothing(
    service: Service, compression: str | None
) -> None:
    name = f"cut_{compression}"
    named = rich().set_column(0, "name", [name] * ROWS)
    stream = written(named, named, compression=compression)
    boundaries, at = [], 0
    for message in messages(stream):
        boundaries += [at, at + len(message.to_bytes()) - len(message.body)]
        at += len(message.to_bytes())
    places = random.Random(3).sample(range(len(stream)), 200)
    for end in [*boundaries, at, *places]:
        assert send(service, stream[:end]) == 400, end
    assert send(service, stream) == 201
    assert count(service, name) == 4  # two with ids, and twice one without


def test_a_stream_that_is_compressed_twice_or_not_as_it_says_is_refused(service: Service) -> None:
    stream = written(events())
    assert send(service, zstd.compress(gzip.compress(stream)), Content_Encoding="zstd") == 400
    assert send(service, gzip.compress(stream)) == 400
    assert send(service, gzip.compress(stream), Content_Encoding="zstd") == 400
    assert send(service, gzip.compress(stream)[:-9], Content_Encoding="gzip") == 400
    assert send(service, stream, Content_Encoding="gzip") == 400


def test_a_stream_is_no_body_of_a_single_event(service: Service) -> None:
    assert send(service, written(events()), "/events") == 415
