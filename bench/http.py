"""A lean HTTP/1.1 client: what the load generator takes, the service on the same cores can't use.

Sends prepared requests over keep-alive connections, one at a time on each.
"""

import asyncio
import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "


@dataclass(slots=True)
class Replies:
    """statuses: how many of each; seconds: how long each took, from its last byte sent."""

    statuses: dict[int, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)


def post(path: str, body: bytes, *, host: str, content_type: str = "application/json") -> bytes:
    """A request as bytes."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def send_all(requests: Iterator[bytes], *, host: str, port: int, connections: int) -> Replies:
    """Send every request; raises ConnectionError when the server closes a connection."""
    replies = Replies()
    loop = asyncio.get_running_loop()
    ended: list[asyncio.Future[None]] = []
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        ended.append(done)
        factory = functools.partial(_Connection, requests, replies, done)
        await loop.create_connection(factory, host, port)
    await asyncio.gather(*ended)
    return replies


class _Connection(asyncio.Protocol):
    def __init__(
        self, requests: Iterator[bytes], replies: Replies, done: asyncio.Future[None]
    ) -> None:
        self._requests = requests
        self._replies = replies
        self._done = done
        self._buffer = b""
        self._sent_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
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
        request = next(self._requests, None)
        if request is None:
            self._done.set_result(None)
            self._transport.close()
            return
        self._sent_s = time.perf_counter()
        self._transport.write(request)
