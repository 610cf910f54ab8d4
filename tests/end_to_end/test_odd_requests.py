"""Requests that are unusual, and still HTTP: answered in our form, counted, never a surprise."""

import gzip
import json
import socket
import zlib
from typing import Any

import brotli
import pytest
import urllib3

from bench.harness.service import HOST, Service
from ingest.parsing.formats import NDJSON_TYPES
from tests.end_to_end.api import count, event, post

SERVICE_MODES = ("embedded",)
ENDPOINTS = [
    "/events/metrics?event_name=x", "/events/top", "/events/names?last=3d", "/events?limit=1",
    "/events/funnel?step=a&step=b", "/events/retention?last=3d", "/events/properties?event_name=x",
]  # fmt: skip
GZIPPED = gzip.compress(b"{}", mtime=0)
GETS = [*ENDPOINTS, "/livez", "/readyz", "/metrics", "/debug/ledger", "/openapi.json"]


@pytest.mark.parametrize("path", GETS)
@pytest.mark.parametrize("body", [b"{}", b"x" * 100_000], ids=["small", "large"])
def test_a_get_with_a_body_is_answered(service: Service, path: str, body: bytes) -> None:
    for _ in range(2):  # the first may come from nowhere but storage, the second from the cache
        reply = service.request("GET", path, body=body)
        assert reply.status == 200, reply.data
    chunked = service.request("GET", path, body=iter([b"{", b"}"]), chunked=True)
    assert chunked.status == 200, chunked.data


@pytest.mark.parametrize("path", GETS)
def test_a_head_is_a_get_without_the_body(service: Service, path: str) -> None:
    for prefix in ("", "/v1"):
        reply = service.request("HEAD", prefix + path)
        assert reply.status == 200
        assert reply.data == b""
        assert reply.headers["Content-Type"] == service.request("GET", path).headers["Content-Type"]
    # The connection is still in step.
    assert service.request("GET", "/livez").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/events", {"GET", "HEAD", "POST"}),
        ("/events/batch", {"POST"}),
        *((path, {"GET", "HEAD"}) for path in GETS if not path.startswith("/events?")),
    ],
)
def test_options_and_405_say_what_is_allowed(
    service: Service, path: str, methods: set[str]
) -> None:
    for method, status in (("OPTIONS", 200), ("DELETE", 405)):
        reply = service.request(method, path)
        assert reply.status == status
        allowed = {name.strip() for name in reply.headers["Allow"].split(",")}
        assert allowed - {"OPTIONS"} == methods


def raw(service: Service, request: bytes) -> tuple[int, bytes]:
    """(status, body) of a request that no client library would send; (0, b"") of no answer."""
    with socket.create_connection((HOST, service.port), timeout=10) as connection:
        connection.sendall(request)
        data = b""
        while part := connection.recv(65_536):
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head else 0), body


@pytest.mark.parametrize(
    "line",
    [
        b"GET /events/metrics?event_name=%ff%fe HTTP/1.1",
        b"GET /events/metrics?%00=%00&event_name=a HTTP/1.1",
        b"GET /events/metrics?event_name=a&from=%F0%9F%92%A9 HTTP/1.1",
        b"GET /%ff/%zz/%00 HTTP/1.1",
        b"GET //events//metrics HTTP/1.1",
        b"GET /events/../events/metrics HTTP/1.1",
        b"GET /swagger/static/../../../etc/passwd HTTP/1.1",
        b"GET /swagger/static/%2e%2e/%2e%2e/etc/passwd HTTP/1.1",
        b"BREW /events HTTP/1.1",
        b"PATCH /events HTTP/1.1",
        b"WEBSOCKET /events HTTP/1.1",
        b"TRACE / HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET http://elsewhere.example.com/events/names HTTP/1.1",
        b"GET /events/metrics?" + b"a=b&" * 500 + b" HTTP/1.1",
        b"GET /events/metrics?cursor=%E0%A4%A&event_name=x HTTP/1.1",
    ],
)
@pytest.mark.parametrize(
    "header",
    [b"", b"Accept: \xff\xfe, */*;q=\xff\r\n", b"Content-Type: \x80\r\n", b"Prefer: ack=\xff\r\n",
     b"Origin: null\r\n", b"X-Forwarded-For: \xff\r\nAuthorization: \xff\r\n",
     b"Accept: a\r\nAccept: b\r\nCookie: \xc3\x28\r\n",
     b"Range: bytes=0-1\r\nIf-None-Match: *\r\n"],
)  # fmt: skip
def test_an_odd_request_is_answered_in_our_form(
    service: Service, line: bytes, header: bytes
) -> None:
    status, body = raw(service, line + b"\r\nHost: a\r\nConnection: close\r\n" + header + b"\r\n")
    assert status != 500, body
    assert 200 <= status < 500
    if status >= 400 and body:
        error = json.loads(body)
        assert set(error) >= {"message", "code"}
        assert error["code"] == status
        assert error["message"][:1].isupper()


def test_an_error_outside_of_every_handler_is_logged_counted_and_in_our_form() -> None:
    import asyncio

    from ingest.http.asgi import LastResort

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("a bug")

    seen: list[tuple[Any, ...]] = []
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    app = LastResort(broken, lambda *observed: seen.append(observed))
    asyncio.run(app({"type": "http", "path": "/x"}, None, send))  # type: ignore[arg-type]
    assert seen[0][:3] == ("none", "none", 500)
    assert sent[0]["status"] == 500
    assert json.loads(sent[1]["body"])["code"] == 500


@pytest.mark.parametrize("media_type", [*NDJSON_TYPES, "Application/X-NDJSON; charset=utf-8"])
def test_lines_are_taken_under_every_name_in_use(service: Service, media_type: str) -> None:
    name = f"lines {media_type}"
    body = b"\n".join(json.dumps(event(name, id=str(n))).encode() for n in range(3))
    reply = post(service, "/events/batch", body=body, content_type=media_type)
    assert reply.status == 201, reply.data
    assert count(service, name) == 3


@pytest.mark.parametrize("size", [1, 3000], ids=["small", "large"])
@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson"])
@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_a_byte_order_mark_is_skipped(
    service: Service, size: int, content_type: str, encoding: str
) -> None:
    name = f"mark {size} {content_type} {encoding}"
    events = [event(name, id=str(n)) for n in range(size)]
    lines = content_type.endswith("ndjson")
    text = "\n".join(map(json.dumps, events)) if lines else json.dumps({"events": events})
    body = b"\xef\xbb\xbf" + text.encode()
    headers = {"Content_Encoding": encoding} if encoding else {}
    body = gzip.compress(body) if encoding else body
    reply = post(service, "/events/batch", body=body, content_type=content_type, **headers)
    assert reply.status == 201, reply.data
    assert count(service, name) == size


@pytest.mark.parametrize(
    ("body", "encoding", "says"),
    [
        (GZIPPED, "", "Content-Encoding: gzip"),
        ('{"name": "é"}'.encode("utf-16"), "", "UTF-16"),
        ('{"name": "é"}'.encode("utf-32"), "", "UTF-32"),
        ('{"name": "é"}'.encode("utf-16-le"), "", "UTF-16 and not UTF-8"),
        ('{"name": "é"}'.encode("utf-16-be"), "", "UTF-16 and not UTF-8"),
        ('{"name": "é"}'.encode("utf-32-le"), "", "UTF-32 and not UTF-8"),
        (zlib.compress(b"{}"), "", "Content-Encoding: deflate"),
        (brotli.compress(b"{}") + b"x", "br", "after the end"),
        (b'{"name":"caf\xe9"}', "", "byte 0xe9 at byte 12"),
        (b'{"name":"caf\xc3', "", "cut off within a character at byte 12"),
        (gzip.compress(GZIPPED), "gzip", "compressed twice"),
        (GZIPPED + b"x", "gzip", "after the end of its gzip stream"),
        (GZIPPED[:-2], "gzip", "cut off"),
        (b"{}", "br", "not compressed"),
        (b"{}", "deflate", "not compressed"),
        (GZIPPED, "zstd", "seems to be gzip"),
        (b"", "gzip", "empty"),
    ],
    ids=[
        "gzip unsaid", "UTF-16", "UTF-32", "UTF-16 without mark",
        "big UTF-16", "UTF-32 without mark", "deflate unsaid", "br and more", "Latin-1",
        "half a character",
        "gzip twice", "gzip and more",
        "gzip cut", "no brotli", "no deflate", "gzip called zstd", "nothing",
    ],
)  # fmt: skip
def test_an_encoding_that_is_wrong_is_told_with_its_cause(
    service: Service, body: bytes, encoding: str, says: str
) -> None:
    headers = {"Content_Encoding": encoding} if encoding else {}
    reply = post(service, "/events", body=body, **headers)
    assert reply.status == 400
    assert says in reply.json()["message"]


def test_health_is_never_rate_limited(new_service: Any) -> None:
    service = new_service(EVENT_STREAM_RATE_LIMITS__REQUESTS="3/minute")
    service.start()
    for path in ("/livez", "/readyz", "/v1/livez", "/v1/readyz"):
        for method in ("GET", "HEAD"):
            assert {service.request(method, path).status for _ in range(10)} == {200}
    asked = [service.request("GET", "/events/names").status for _ in range(5)]
    assert asked == [200] * 3 + [429] * 2


def test_clients_behind_a_proxy_have_limits_of_their_own(new_service: Any) -> None:
    service = new_service(
        EVENT_STREAM_RATE_LIMITS__REQUESTS="4/minute", EVENT_STREAM_PROXIES__TRUSTED='["127.0.0.1"]'
    )
    service.start()

    def status(address: str) -> int:
        reply: urllib3.BaseHTTPResponse = service.request(
            "GET", "/events/names", headers={"X-Forwarded-For": address}
        )
        return reply.status

    assert [status(f"::ffff:198.51.100.{number}") for number in range(8)] == [200] * 8
    forms = ["192.0.2.1", "192.0.2.1:99", "::ffff:192.0.2.1", "[::FFFF:192.0.2.1]:7", "192.0.2.1"]
    assert [status(form) for form in forms] == [200] * 4 + [429]
