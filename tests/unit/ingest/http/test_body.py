"""RequestBodyMiddleware answers bodies that are cut off, too large, too slow or ambiguous."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import falcon.asgi
import pytest

from ingest.http import errors as http_errors
from ingest.http.body import BodyLimits, DeferredErrors, RequestBodyMiddleware, body_of
from ingest.http.routes import Route, RouteTable, build_falcon_app

HEADERS = [(b"host", b"localhost"), (b"content-type", b"application/json")]


class Echo:
    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.media = {"bytes": len(body_of(req))}


def status_of(
    messages: Sequence[Mapping[str, Any]],
    *,
    headers: Sequence[tuple[bytes, bytes]] = (),
    stalls: bool = False,
    query_string: bytes = b"",
    held_bytes_max: int = 10_000,
    others_bytes: int = 0,
    answer: dict[bytes, bytes] | None = None,
) -> int:
    """Send a request through the middleware and return the status of the response.

    Args:
        messages: the ASGI messages with the body.
        headers: headers besides HEADERS.
        stalls: whether the client sends nothing after `messages`, or else disconnects.
        query_string: the query string.
        held_bytes_max: limit of all bodies together.
        others_bytes: bytes that another request holds meanwhile.
        answer: receives the headers of the response, and in `messages` how many messages are left.
    """
    app = build_falcon_app(
        table=RouteTable([Route("/", Echo(), scope=None)]),
        static={},
        statuses=http_errors.STATUSES,
        middleware=[DeferredErrors()],
    )
    guard = RequestBodyMiddleware(
        app,
        limits=BodyLimits(
            url_bytes=50,
            head_bytes=1_000,
            bytes=100,
            held_bytes=held_bytes_max,
            timeout_s=0.05,
        ),
        allows_body=lambda scope: (b"x-api-key", b"wrong") not in scope["headers"],
    )
    left = list(messages)
    statuses = []
    headers_sent = {} if answer is None else answer

    async def receive() -> Mapping[str, Any]:
        if not left and stalls:
            await asyncio.sleep(3600)
        return left.pop(0) if left else {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
            headers_sent.update(message["headers"])

    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        "method": "POST", "path": "/", "raw_path": b"/", "root_path": "",
        "query_string": query_string,
        "scheme": "http", "headers": [*HEADERS, *headers], "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80), "state": {},
    }  # fmt: skip

    async def main() -> None:
        others = asyncio.create_task(_hold(guard, scope, others_bytes))
        await asyncio.sleep(0)
        await guard(scope, receive, send)
        others.cancel()

    asyncio.run(main())
    headers_sent[b"messages"] = b"%d" % len(left)
    [status] = statuses
    return int(status)


async def _hold(guard: RequestBodyMiddleware, scope: dict[str, Any], size: int) -> None:
    """Hold a request open that has sent `size` bytes of its body so far."""
    messages = [part(b"o" * size, more=True)] if size else []

    async def receive() -> Mapping[str, Any]:
        if not messages:
            await asyncio.sleep(3600)
        return messages.pop()

    async def send(message: Mapping[str, Any]) -> None:
        pass

    await guard(dict(scope), receive, send)


def part(data: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


def test_a_whole_body_in_parts_is_passed_on() -> None:
    assert status_of([part(b"a" * 50, more=True), part(b"b" * 50, more=False)]) == 200


def test_a_body_is_complete_at_its_content_length() -> None:
    length = [(b"content-length", b"4")]
    assert status_of([part(b"ab", more=True), part(b"cd", more=True)], headers=length) == 200
    assert status_of([part(b"ab", more=True)], headers=length) == 400


def test_a_body_cut_off_by_a_disconnect_is_refused() -> None:
    assert status_of([part(b"{}", more=True), {"type": "http.disconnect"}]) == 400
    assert status_of([{"type": "http.disconnect"}]) == 400


def test_a_body_over_the_limit_is_refused_however_it_arrives() -> None:
    assert status_of([part(b"a" * 101, more=False)]) == 413
    assert status_of([part(b"a" * 60, more=True)] * 5) == 413
    assert status_of([part(b"", more=False)], headers=[(b"content-length", b"101")]) == 413
    assert status_of([part(b"", more=False)], headers=[(b"content-length", b"9" * 40)]) == 413


def test_a_body_that_does_not_come_in_time_is_refused() -> None:
    assert status_of([part(b"{", more=True)], stalls=True) == 408


@pytest.mark.parametrize(
    "headers",
    [[(b"content-length", b"2"), (b"transfer-encoding", b"chunked")],
     [(b"content-length", b"2"), (b"content-length", b"2")],
     [(b"content-length", b"-2")], [(b"content-length", b"two")]],
)  # fmt: skip
def test_an_ambiguous_length_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    assert status_of([part(b"{}", more=False)], headers=headers) == 400


def test_a_long_url_and_large_headers_are_refused() -> None:
    whole = [part(b"{}", more=False)]
    assert status_of(whole, query_string=b"x" * 49) == 200
    assert status_of(whole, query_string=b"x" * 50) == 414
    assert status_of(whole, headers=[(b"x-large", b"x" * 900)]) == 200
    assert status_of(whole, headers=[(b"x-large", b"x" * 1_000)]) == 431


def test_all_bodies_together_are_limited() -> None:
    whole = [part(b"a" * 60, more=True), part(b"b" * 40, more=False)]
    assert status_of(whole, held_bytes_max=150) == 200
    assert status_of(whole, held_bytes_max=150, others_bytes=50) == 200
    assert status_of(whole, held_bytes_max=150, others_bytes=51) == 503
    assert status_of(whole, held_bytes_max=99) == 200  # the only body always fits


def test_the_body_of_a_client_without_a_valid_key_is_not_read() -> None:
    sent = [part(b"a" * 60, more=True), part(b"b" * 60, more=False)]
    assert status_of(sent) == 413
    assert status_of(sent, headers=[(b"x-api-key", b"wrong")]) == 200


CHUNKED = (b"transfer-encoding", b"chunked")
WRONG = (b"x-api-key", b"wrong")


@pytest.mark.parametrize(
    ("headers", "sent", "closes"),
    [([], [part(b"", more=False)], False),
     ([WRONG], [part(b"", more=False)], False),
     ([(b"content-length", b"0"), WRONG], [part(b"", more=False)], False),
     ([CHUNKED], [part(b"{}", more=False)], False),
     ([CHUNKED, WRONG], [part(b"{}", more=False)], True),
     ([(b"content-length", b"2"), WRONG], [part(b"{}", more=False)], True),
     ([CHUNKED], [part(b"a" * 101, more=True), part(b"{}", more=False)], True)],
)  # fmt: skip
def test_only_a_response_to_an_unread_body_closes_the_connection(
    headers: list[tuple[bytes, bytes]], sent: list[Mapping[str, Any]], closes: bool
) -> None:
    answer: dict[bytes, bytes] = {}
    status_of(sent, headers=headers, answer=answer)
    assert (b"connection" in answer) == closes
    assert not closes or answer[b"messages"] == b"0"


def test_the_rest_of_a_refused_body_is_discarded_within_limits() -> None:
    answer: dict[bytes, bytes] = {}
    endless = [part(b"a" * 50, more=True)] * 1_000
    assert status_of(endless, headers=[CHUNKED, WRONG], answer=answer) == 200
    assert answer[b"messages"] == b"992"  # four times the limit
    assert status_of([part(b"a", more=True)], headers=[CHUNKED, WRONG], stalls=True) == 200
