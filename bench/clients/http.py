"""A lean HTTP/1.1 client. The service can't use CPU time that a client on the same cores uses.

Sends prepared requests over keep-alive connections, one at a time on each connection. Without a
pace, it sends the next request as soon as the last one is answered. With a pace, it sends each
request when it is due.
"""

import asyncio
import functools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "


@dataclass(slots=True)
class Replies:
    """All responses.

    Attributes:
        statuses: number of responses by status.
        seconds: time of each request, from when it was sent or, with a pace, due.
    """

    statuses: dict[int, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)


def post(path: str, body: bytes, *, host: str, content_type: str = "application/json") -> bytes:
    """Return a complete POST request."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def batch_body(texts: Sequence[bytes]) -> bytes:
    """Return the body of a batch of events, which are JSON texts."""
    return b'{"events":[' + b",".join(texts) + b"]}"


async def send_all(
    requests: Iterator[bytes],
    *,
    host: str,
    port: int,
    connections: int,
    per_s: float | None = None,
) -> Replies:
    """Send every request, and return statuses and times.

    Args:
        requests: complete HTTP requests.
        host: host of the server.
        port: port of the server.
        connections: number of connections.
        per_s: pace in requests per second, even if the server is slower. None for no pace. With a
            pace, the time that a request waits for a connection counts, so that the times show how
            slow the server is.

    Raises:
        ConnectionError: the server closed a connection.
    """
    replies = Replies()
    loop = asyncio.get_running_loop()
    started_s = time.perf_counter()
    due = ((request, started_s + n / per_s if per_s else 0.0) for n, request in enumerate(requests))
    ended: list[asyncio.Future[None]] = []
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        ended.append(done)
        factory = functools.partial(_Connection, due, replies, done)
        await loop.create_connection(factory, host, port)
    await asyncio.gather(*ended)
    return replies


class _Connection(asyncio.Protocol):
    def __init__(
        self,
        requests: Iterator[tuple[bytes, float]],
        replies: Replies,
        done: asyncio.Future[None],
    ) -> None:
        """Share `requests` and `replies` with the other connections.

        Args:
            requests: each with the time when it is due; 0 means at once.
            replies: where responses are counted.
            done: gets its result when there are no more requests.
        """
        self._requests = requests
        self._replies = replies
        self._done = done
        self._buffer = b""
        self._sent_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's class is no subclass
        self._send_next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(_HEAD_END)
        if not separator:
            return
        at = head.lower().find(_LENGTH)
        length = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        status = int(head[9:12])
        self._replies.statuses[status] = self._replies.statuses.get(status, 0) + 1
        self._replies.seconds.append(time.perf_counter() - self._sent_s)
        self._send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server closed the connection"))

    def _send_next(self) -> None:
        request, due_s = next(self._requests, (None, 0.0))
        if request is None:
            self._done.set_result(None)
            self._transport.close()
            return
        now_s = time.perf_counter()
        self._sent_s = due_s or now_s
        if due_s > now_s:
            loop = asyncio.get_running_loop()
            loop.call_later(due_s - now_s, self._transport.write, request)
        else:
            self._transport.write(request)
