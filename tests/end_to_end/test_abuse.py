"""Raw sockets: cut off, malformed, ambiguous or slow uploads store nothing and harm nobody."""

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest

from bench.harness.service import HOST, Service
from tests.end_to_end.api import count, event, post

# What a stranger meets is the same whatever storage there is.
SERVICE_MODES = ("embedded",)
HEAD = b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def exchange(service: Service, *parts: bytes, half_close: bool = False) -> bytes:
    """What comes back until the service closes the connection or falls silent for 2 s."""
    with socket.create_connection((HOST, service.port), timeout=2) as connection:
        for part in parts:
            connection.sendall(part)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while data := connection.recv(65_536):
                answer += data
        except (TimeoutError, ConnectionError):
            pass
        return answer


def status(answer: bytes) -> int | None:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else None


def body_of(name: str) -> bytes:
    return orjson.dumps(event(name, id=name))


def test_an_upload_cut_off_before_its_length_stores_nothing(service: Service) -> None:
    # What has arrived is a whole event: only the length tells that more was meant to come.
    body = body_of("cut_length")
    head = HEAD + b"Content-Length: %d\r\n\r\n" % (len(body) + 1)
    assert status(exchange(service, head + body, half_close=True)) in (None, 400)
    assert count(service, "cut_length") == 0


@pytest.mark.parametrize(
    ("name", "tail"),
    [("no_end", b""), ("bad_size", b"zz\r\n"), ("short_chunk", b"10\r\nabc"),
     ("no_last_crlf", b"0\r\n")],
)  # fmt: skip
def test_a_chunked_upload_without_its_proper_end_stores_nothing(
    service: Service, name: str, tail: bytes
) -> None:
    body = body_of(name)
    chunk = b"%x\r\n%b\r\n" % (len(body), body)
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    assert status(exchange(service, head, chunk + tail, half_close=True)) in (None, 400)
    assert count(service, name) == 0


def test_a_whole_chunked_upload_is_stored(service: Service) -> None:
    body = body_of("chunked")
    chunks = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (5, body[:5], len(body) - 5, body[5:])
    answer = exchange(service, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert status(answer) == 201
    assert count(service, "chunked") == 1


@pytest.mark.parametrize(
    "headers",
    [b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: 1\r\n" * 2],
    ids=["length and chunks", "two lengths"],
)
def test_an_ambiguous_length_is_refused(service: Service, headers: bytes) -> None:
    body = body_of("smuggled")
    headers = headers % len(body) if b"%d" in headers else headers
    answer = exchange(service, HEAD + headers + b"\r\n" + body, half_close=True)
    assert status(answer) in (None, 400)
    assert count(service, "smuggled") == 0


def test_ten_megabytes_of_brackets_and_a_body_over_the_limit_are_refused(service: Service) -> None:
    assert post(service, "/events", body=b"[" * 10_000_000).status == 400
    assert post(service, "/events/batch", body=b"[" * 10_000_000).status == 400
    assert post(service, "/events/batch", body=b" " * (16 << 20) + b"[]").status == 413
    many = [event("many")] * 10_001
    assert post(service, "/events/batch", many).status == 413
    assert count(service, "many") == 0


def test_who_sends_too_much_may_send_it_all_and_is_told(service: Service) -> None:
    for _ in range(5):
        body = b" " * (17 << 20)
        head = HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
        answer = exchange(service, head + body)  # no reset while it is sent
        assert status(answer) == 413
        assert b"\r\nconnection: close\r\n" in answer.lower()


LARGE = b",".join([b'{"name":"large","channel_type":"web","other":"%b"}' % (b"x" * 1_500)] * 9_000)
LONG = b'{"name":"long","channel_type":"web","other":[%b]' % b",".join([b'{"a":"b"}'] * 800_000)


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/events/batch", b"[" + LARGE + b"]", 201),
        ("/events/batch", b"[" + LARGE + b',{"name":"a","name":"b"}]', 400),
        ("/events/batch", b"[" + LARGE + b',{"name":"\\u0000","channel_type":"web"}]', 400),
        ("/events/batch", b"[" + LARGE + b',{"name":""}]', 400),
        ("/events", LONG + b',"name":"b"}', 400),
    ],
    ids=["unknown fields", "a key twice", "NUL", "no name", "one with a key twice"],
)
def test_a_large_body_that_takes_long_to_check_holds_up_nobody(
    service: Service, path: str, body: bytes, expected: int
) -> None:
    def longest_wait() -> float:
        """For another event meanwhile, as a part of the time that the body takes."""
        waits_s = []
        with ThreadPoolExecutor(1) as thread:
            started_s = time.monotonic()
            reply = thread.submit(post, service, path, body=body)
            while not reply.done():
                asked_s = time.monotonic()
                assert post(service, "/events", event("meanwhile")).status == 201
                waits_s.append(time.monotonic() - asked_s)
            assert reply.result().status == expected
            return max(waits_s) / (time.monotonic() - started_s)

    # On the event loop, or in one group, it would be nearly all of it, each time.
    assert min(longest_wait() for _ in range(3)) < 0.6


def test_slow_bodies_end_at_their_deadline_and_hold_up_nobody(
    new_service: Callable[..., Service],
) -> None:
    service = new_service(EVENT_STREAM_LIMITS__BODY_SECONDS="3")
    service.start()
    slow = []
    for _ in range(200):
        connection = socket.create_connection((HOST, service.port), timeout=10)
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        slow.append(connection)
    started_s = time.monotonic()
    for index in range(20):
        assert post(service, "/events", event("beside", id=str(index))).status == 201
    assert time.monotonic() - started_s < 5
    for connection in slow:
        assert status(connection.recv(4096)) == 408
        connection.close()
    assert time.monotonic() - started_s < 15
    assert count(service, "beside") == 20
    assert service.stop() == 0
