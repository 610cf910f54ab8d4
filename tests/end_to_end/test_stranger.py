"""A stranger's kit: each refused with the right status, memory flat, good traffic unharmed."""

import gzip
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from bench.harness.service import HOST, Service
from ingest.parsing.compression import zstd
from metrics_api.query.dimensions import KNOWN
from metrics_api.routes import ENDPOINTS
from tests.end_to_end.api import count, event, post
from tests.end_to_end.test_abuse import exchange, status

MIB = 1024 * 1024
BEGINNINGS = (b"", b"POST /ev", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
"""Silence from the start, within the headers, and after a request."""
RSS_GROWTH_MAX = 150 * MIB
GIB_OF_ZEROS = 1024
# What a stranger meets is the same whatever storage there is.
SERVICE_MODES = ("embedded",)


@contextmanager
def good_traffic(service: Service, name: str) -> Iterator[None]:
    """Events and questions go on meanwhile, and all of them are answered, soon and rightly."""
    stop = threading.Event()
    failures: list[object] = []
    sent = 0

    def send() -> None:
        nonlocal sent
        while not stop.is_set():
            started_s = time.monotonic()
            reply = post(service, "/events", event(name, id=f"{name}-{sent}"))
            if reply.status != 201 or time.monotonic() - started_s > 5:
                failures.append((reply.status, time.monotonic() - started_s))
            sent += 1
            time.sleep(0.01)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not failures
    assert sent > 0
    assert count(service, name) == sent


@contextmanager
def flat_memory(service: Service) -> Iterator[None]:
    before = service.processes.rss_bytes()
    yield
    assert service.processes.rss_bytes() - before < RSS_GROWTH_MAX


@cache
def bomb(encoding: str, mebibytes: int) -> bytes:
    if encoding == "zstd":
        compressor = zstd.ZstdCompressor()
        parts = [compressor.compress(bytes(MIB)) for _ in range(mebibytes)]
        return b"".join([*parts, compressor.flush()])
    wbits = 31 if encoding == "gzip" else 15
    deflate = zlib.compressobj(9, zlib.DEFLATED, wbits)
    parts = [deflate.compress(bytes(MIB)) for _ in range(mebibytes)]
    return b"".join([*parts, deflate.flush()])


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "deflate"])
def test_a_gibibyte_in_a_small_body_is_not_unpacked(service: Service, encoding: str) -> None:
    body = bomb(encoding, GIB_OF_ZEROS)
    assert len(body) < 2 * MIB
    with good_traffic(service, f"beside_{encoding}"), flat_memory(service):
        for _ in range(3):
            started_s = time.monotonic()
            reply = post(service, "/events/batch", body=body, Content_Encoding=encoding)
            assert reply.status == 413
            assert time.monotonic() - started_s < 5
    twice = post(service, "/events", body=gzip.compress(b"{}"), Content_Encoding="gzip, gzip")
    assert twice.status == 415


def test_a_flood_of_headers_and_a_long_url_are_refused(service: Service) -> None:
    with good_traffic(service, "beside_headers"), flat_memory(service):
        start = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
        many = start + b"".join(b"x-%d: 1\r\n" % number for number in range(100_000)) + b"\r\n"
        assert status(exchange(service, many)) in (None, 431)
        few = start + b"".join(b"x-%d: 1\r\n" % number for number in range(150)) + b"\r\n"
        assert status(exchange(service, few)) == 431
        large = start + b"x: " + b"a" * 100_000 + b"\r\n\r\n"
        assert status(exchange(service, large)) == 431
        url = b"GET /livez?" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert status(exchange(service, url)) == 414
        url = b"GET /livez?" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert status(exchange(service, url)) in (414, 431)


def test_silent_and_slow_connections_are_ended_and_hold_up_nobody(
    new_service: Callable[..., Service],
) -> None:
    service = new_service(EVENT_STREAM_LIMITS__HEAD_SECONDS="2")
    service.start()
    connections = []
    with good_traffic(service, "beside_slow"), flat_memory(service):
        for number in range(900):
            connection = socket.create_connection((HOST, service.port), timeout=10)
            connection.sendall(BEGINNINGS[number % len(BEGINNINGS)])
            connections.append(connection)
        time.sleep(1)
    for connection in connections:
        # What was asked is answered; then comes the end, and no error.
        while connection.recv(65_536):
            pass
        connection.close()


DEEP = 100_000
NASTY_JSON: dict[str, bytes] = {
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep in an unknown field": b'{"name":"n","channel_type":"web","x":'
    + b"[" * 300
    + b"]" * 300
    + b"}",
    "2^64": b'{"name":"n","channel_type":"web","timestamp":18446744073709551616}',
    "1e400": b'{"name":"n","channel_type":"web","items":[{"price_in_usd":1e400}]}',
    "NaN": b'{"name":"n","channel_type":"web","items":[{"price_in_usd":NaN}]}',
    "1.5 as an integer": b'{"name":"n","channel_type":"web","timestamp":1.5}',
    "lone surrogate": b'{"name":"\\ud800","channel_type":"web"}',
    "invalid UTF-8": b'{"name":"\xff","channel_type":"web"}',
    "duplicate keys": b'{"name":"n","name":"m","channel_type":"web"}',
    "NUL": b'{"name":"a\\u0000b","channel_type":"web"}',
    "a long name": b'{"name":"' + b"n" * 1_025 + b'","channel_type":"web"}',
    "a long text": b'{"name":"n","channel_type":"web","user_id":"' + b"u" * 65_537 + b'"}',
    "many params": b'{"name":"n","channel_type":"web","event_params":['
    + b",".join([b'{"key":"k"}'] * 1_001)
    + b"]}",
    "many items": b'{"name":"n","channel_type":"web","items":['
    + b",".join([b"{}"] * 1_001)
    + b"]}",
}  # fmt: skip


@pytest.mark.parametrize("kind", NASTY_JSON)
def test_json_that_is_too_much_is_refused_and_the_good_beside_it_is_not(
    service: Service, kind: str
) -> None:
    body = NASTY_JSON[kind]
    assert post(service, "/events", body=body).status == 400
    reply = post(service, "/events/batch", body=b'{"events":[' + body + b"]}")
    assert reply.status == 400
    good = b'{"name":"beside_json","channel_type":"web"}'
    lines = good + b"\n" + body + b"\n" + good
    batch = post(
        service, "/events/batch?partial=true", body=lines, content_type="application/x-ndjson"
    )
    assert batch.status == 207
    answer: dict[str, Any] = batch.json()
    assert [error["index"] for error in answer["rejected"]] == [1]
    # In a batch of the size that is read column by column, too.
    many = b"\n".join([good] * 4_000 + [body])
    batch = post(
        service, "/events/batch?partial=true", body=many, content_type="application/x-ndjson"
    )
    assert [error["index"] for error in batch.json()["rejected"]] == [4_000]


def test_hundred_thousand_unknown_keys_are_ignored(service: Service) -> None:
    many = {f"k{number}": number for number in range(100_000)}
    assert post(service, "/events", event("many_keys", **many, **{"": 1})).status == 201


INJECTIONS = [
    "' OR 1=1 --", "'; DROP TABLE events; --", "1) UNION ALL SELECT * FROM system.users --",
    "{v0:String}", "channel) FROM events --", "\\' OR 1=1", "`id`", "sleep(3)",
    "x\r\nSet-Cookie: a=b",
]  # fmt: skip
PARAMETERS = [
    "event_name", "from", "to", "last", "tz", "group_by", "interval", "measure", "order", "limit",
    "other", "fill", "compare", "approximate", "consistency", "dimension", "step", "window",
    "first_event", "return_event", "period", "periods", "scope", "id", "cursor", "os", "param.x",
]  # fmt: skip


@pytest.mark.parametrize("question", [*ENDPOINTS, ""])
def test_nothing_is_injected_through_any_parameter(service: Service, question: str) -> None:
    post(service, "/events", event("guarded", id="guarded"))
    for parameter in PARAMETERS:
        # All of them in the largest question, some in the others, which share its parts.
        for text in INJECTIONS if question == "metrics" else INJECTIONS[::3]:
            pairs = [(parameter, text)]
            pairs += [("event_name", "guarded")] if parameter != "event_name" else []
            path = f"/events/{question}".rstrip("/") + "?" + urlencode(pairs)
            reply = service.request("GET", path)
            assert reply.status in (200, 400), (path, reply.data)
            assert "Set-Cookie" not in reply.headers
            assert reply.status == 400 or len(reply.data) < 20_000
    assert count(service, "guarded") == 1
    assert len(KNOWN) > 30


@pytest.mark.parametrize(
    "path",
    [
        "../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd",
        "....//....//etc/passwd", "..\\..\\etc\\passwd", "..%5c..%5cetc%5cpasswd", "/etc/passwd",
        "%252e%252e%252fetc%252fpasswd", "..%00/etc/passwd", "static/../../../../etc/passwd",
        "..;/..;/etc/passwd", quote("../app.py"),
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_static_files(service: Service, path: str) -> None:
    for root in ("/swagger/", "/swagger/static/", "/static/"):
        line = f"GET {root}{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = exchange(service, line.encode())
        assert status(answer) in (400, 404), root
        assert b"root:" not in answer


def test_a_service_that_has_had_all_of_it_still_balances(
    new_service: Callable[..., Service],
) -> None:
    service = new_service(EVENT_STREAM_LIMITS__BODY_SECONDS="2")
    service.start()
    with good_traffic(service, "beside_all"), flat_memory(service):
        for body in NASTY_JSON.values():
            post(service, "/events/batch?partial=true", body=body)
        post(service, "/events/batch", body=bomb("gzip", 256), Content_Encoding="gzip")
    ledger = service.request("GET", "/debug/ledger").json()
    assert ledger["balanced"]
