"""The fast path replies as Falcon does, and each request gets the reply to its own body."""

import gzip
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest
import urllib3

from bench.harness.service import HOST, Service
from tests.end_to_end.api import books, count, event, metrics, post

BY_FALCON = {"Prefer": "handling=strict"}
"""A header that goes the whole way, and asks for nothing that we know."""

BODIES = {
    "compact": b'{"name":"direct","channel_type":"web","id":"%s"}',
    "as Python writes it": b'{"name": "direct", "channel_type": "web", "id": "%s"}',
    "unknown field": b'{"name":"direct","channel_type":"web","id":"%s","other":{"a":[1]}}',
    "id to be escaped": b'{"name":"direct","channel_type":"web","id":"\\"\\\\\\u00e9%s"}',
    "empty": b"",
    "no JSON": b'{"name":',
    "two of them": b'{"name":"direct","channel_type":"web"}{"name":"direct","channel_type":"web"}',
    "a list": b'[{"name":"direct","channel_type":"web"}]',
    "no name": b'{"channel_type":"web"}',
    "a key twice": b'{"name":"a","name" :"direct","channel_type":"web"}',
    "NUL": b'{"name":"direct\\u0000","channel_type":"web"}',
    "not UTF-8": b'{"name":"direct","channel_type":"web","user_id":"\xff"}',
    "year 3000": b'{"name":"direct","channel_type":"web","timestamp":32503680000}',
}


ONE = b'{"name":"direct","channel_type":"web","id":"%s"}'
BATCHES = {
    "an object": b'{"events":[' + ONE + b"]}",
    "a list": b"[" + ONE + b"]",
    "the same twice": b"[" + ONE + b"," + ONE + b"]",
    "lines": ONE + b"\n" + ONE + b"\n",
    "none": b"[]",
    "empty": b"",
    "no JSON": b'{"events":[',
    "no list": b'{"event":[]}',
    "a bad one among good ones": b"[" + ONE + b',{"name":"direct"},' + ONE + b"]",
    "too many": b"[" + b",".join([b"{}"] * 10_001) + b"]",
}


def told(reply: urllib3.BaseHTTPResponse) -> dict[str, Any]:
    """All of a reply but what differs from one moment to the next."""
    passing = ("date", "event-stream-saturation", "event-stream-fill")
    headers = {k.lower(): v for k, v in reply.headers.items() if k.lower() not in passing}
    assert set(passing) <= {name.lower() for name in reply.headers}
    return {"status": reply.status, "body": reply.data, **headers}


def answers(
    service: Service, path: str, body: bytes, content_type: str | None, **headers: str
) -> tuple[urllib3.BaseHTTPResponse, urllib3.BaseHTTPResponse]:
    """To a request, and to the same again: there Falcon must have the same answer."""
    sent = {"body": body, "content_type": content_type, **headers}
    first = post(service, path, **sent)
    again = post(service, path, **sent)
    by_falcon = post(service, path, **sent, **BY_FALCON)
    assert told(again) == told(by_falcon)
    assert first.status == again.status
    return first, again


@pytest.mark.parametrize("content_type", ["application/json", "text/plain; charset=utf-8", None])
@pytest.mark.parametrize("case", BODIES)
def test_a_plain_request_is_answered_as_by_falcon(
    service: Service, case: str, content_type: str | None
) -> None:
    key = f"{case} {content_type}".encode()
    body = BODIES[case].replace(b"%s", key)
    first, again = answers(service, "/events", body, content_type)
    if first.status == 201:
        answer = first.json()
        assert "duplicate" not in answer
        assert again.json() == {**answer, "duplicate": True}


@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson", "text/html"])
@pytest.mark.parametrize("case", BATCHES)
def test_a_plain_batch_is_answered_as_by_falcon(
    service: Service, case: str, content_type: str
) -> None:
    body = BATCHES[case].replace(b"%s", f"batch {case} {content_type}".encode())
    first, again = answers(service, "/events/batch", body, content_type)
    if first.status == 201:
        ids = first.json()["ids"]
        known = {"duplicates": len(ids)} if ids else {}
        assert again.json() == {"ids": ids, **known}


ENCODED = {
    "whole": lambda body: ("gzip", gzip.compress(body)),
    "upper case": lambda body: ("GZIP", gzip.compress(body)),
    "none": lambda body: ("identity", body),
    "cut off": lambda body: ("gzip", gzip.compress(body)[:-9]),
    "not encoded": lambda body: ("zstd", body),
    "unknown": lambda body: ("rot13", body),
    "two": lambda body: ("gzip, gzip", gzip.compress(gzip.compress(body))),
    "not ASCII": lambda body: ("gz\u00efp", gzip.compress(body)),
    "too much": lambda body: ("gzip", gzip.compress(body + b" " * (70 << 20))),
}


@pytest.mark.parametrize("path", ["/events", "/events/batch"])
@pytest.mark.parametrize("case", ENCODED)
def test_an_encoded_body_is_answered_as_by_falcon(service: Service, case: str, path: str) -> None:
    body = ONE.replace(b"%s", f"encoded {case} {path}".encode())
    encoding, data = ENCODED[case](body if path == "/events" else b"[" + body + b"]")
    first, _ = answers(service, path, data, "application/json", Content_Encoding=encoding)
    assert (first.status == 201) == (case in ("whole", "upper case", "none"))


def test_a_header_that_comes_twice_is_answered_as_by_falcon(service: Service) -> None:
    def replies(name: bytes, value: bytes, more: bytes = b"") -> bytes:
        body = ONE.replace(b"%s", b"twice")
        head = b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % len(body)
        head += b"Connection: close\r\n" + more + b"%b: %b\r\n" % (name, value) * 2 + b"\r\n"
        with socket.create_connection((HOST, service.port), timeout=10) as connection:
            connection.sendall(head + body)
            return b"".join(iter(lambda: connection.recv(65_536), b"")).split(b" ", 2)[1]

    for name, value in ((b"Content-Encoding", b"identity"), (b"Content-Type", b"application/json")):
        by_falcon = b"".join(b"%b: %b\r\n" % (n.encode(), v.encode()) for n, v in BY_FALCON.items())
        assert replies(name, value) == replies(name, value, by_falcon)


def test_what_is_gathered_together_is_answered_apart(service: Service) -> None:
    def send(number: int) -> tuple[int, dict[str, Any]]:
        body = orjson.dumps(event("gathered", id=f"gathered-{number // 2}"))
        if number % 10 == 9:
            body = body[:-1]
        reply = post(service, "/events", body=body)
        return reply.status, reply.json()

    before = books(service)
    with ThreadPoolExecutor(32) as threads:
        replies = list(threads.map(send, range(1_000)))
    assert count(service, "gathered") == 500
    for number, (status, answer) in enumerate(replies):
        if number % 10 == 9:
            assert (status, answer["code"]) == (400, 400)
        else:
            assert (status, answer["id"]) == (201, f"gathered-{number // 2}")
    known = sum("duplicate" in answer for _, answer in replies)
    after = books(service)
    changed = {name: after[name] - before[name] for name in after}
    # Each of two workers knows but its own ids; the table collapses what came to both.
    assert changed["received_total"] == 900
    assert changed["duplicate_total"] == known
    assert changed["accepted_total"] == 900 - known


def test_batches_that_are_gathered_together_are_answered_apart(service: Service) -> None:
    # So large that several together are parsed as columns, unless there is one that is not plain.
    filler = {"user_id": "u" * 2_000}

    def send(number: int) -> tuple[int, dict[str, Any]]:
        events = [event("large-batch", id=f"batch-{number // 2}-{n}", **filler) for n in range(20)]
        if number % 10 == 9:
            events[7]["name"] = ""
        elif number % 50 == 8:
            events[7]["unknown"] = 1
        reply = post(service, "/events/batch", {"events": events})
        return reply.status, reply.json()

    before = books(service)
    with ThreadPoolExecutor(32) as threads:
        replies = list(threads.map(send, range(400)))
    assert count(service, "large-batch") == 200 * 20
    known = 0
    for number, (status, answer) in enumerate(replies):
        if number % 10 == 9:
            assert status == 400
            assert [(e["index"], e["field"]) for e in answer["errors"]] == [(7, "name")]
        else:
            assert status == 201
            assert answer["ids"] == [f"batch-{number // 2}-{n}" for n in range(20)]
            known += answer.get("duplicates", 0)
    after = books(service)
    changed = {name: after[name] - before[name] for name in after}
    assert changed["received_total"] == 400 * 20
    assert changed["rejected_total"] == 40 * 20
    assert changed["duplicate_total"] == known
    assert changed["accepted_total"] == 360 * 20 - known


def test_plain_events_without_an_id_are_told_apart_or_together_by_their_content(
    service: Service,
) -> None:
    at = {"timestamp": 1_705_312_800}
    same = {post(service, "/events", event("content", **at)).json()["id"] for _ in range(3)}
    assert len(same) == 1
    [one] = same
    assert post(service, "/events", event("content", **at), **BY_FALCON).json()["id"] == one
    timeless = {post(service, "/events", event("content")).json()["id"] for _ in range(3)}
    assert len(timeless) == 3
    assert metrics(service, "content")["total_count"] == 4


def test_where_a_201_promises_storage_a_plain_event_is_stored_by_then(
    new_service: Callable[..., Service],
) -> None:
    service = new_service(EVENT_STREAM_ACK__LEVEL="stored")
    service.start()
    reply = post(service, "/events", event("stored"))
    assert (reply.status, reply.headers["Preference-Applied"]) == (201, "ack=stored")
    fields = {"event_name": "stored"}
    assert service.request("GET", "/events/metrics", fields=fields).json()["total_count"] == 1


def test_plain_requests_are_counted_like_others(service: Service) -> None:
    def requests() -> float:
        text = service.request("GET", "/metrics").data.decode()
        series = 'event_stream_requests_total{method="POST",route="/v1/events",status="201"'
        return sum(
            float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(series)
        )

    before = requests()
    post(service, "/v1/events", event("counted"))
    post(service, "/v1/events", event("counted"), **BY_FALCON)
    assert requests() == before + 2
