"""Requests are read here, whole and within limits, before Falcon sees them.

Falcon takes a client that goes away for the end of the body, and has neither a limit nor a
deadline. This ASGI wrapper has all three: what reaches Falcon is either complete or an error that
`DeferredErrors` raises once the route is known, so that it is answered and counted like any other.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

from falcon.asgi import Request, Response

from ingest.errors import (
    BodyTimeoutError,
    BusyError,
    HeadTooLargeError,
    IngestError,
    PayloadError,
    TooLargeError,
    UrlTooLongError,
)
from ingest.http.asgi import AsgiApp, Receive, Scope, Send
from ingest.http.deadlines import Deadlines

_BODY_KEY, _ERROR_KEY = "event_stream.body", "event_stream.body_error"
_EMPTY = {"type": "http.request", "body": b"", "more_body": False}

_LINGER_S = 2.0
_LINGER_BODIES = 4
"""What is left of a refused body is taken off the network this long, up to this many times the size
that a body may have."""


def body_of(req: Request) -> bytes:
    """The request's whole body; PERF: Falcon's stream over the same bytes takes 5 µs."""
    body: bytes = req.scope[_BODY_KEY]
    return body


def body_in(scope: Scope) -> bytes | None:
    """The same, None when there is something wrong with the request."""
    return scope.get(_BODY_KEY)


def defer_error(scope: Scope, error: Exception) -> None:
    """Let Falcon answer the request with `error`, once it knows the route."""
    scope[_ERROR_KEY] = error


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Limits of requests.

    Attributes:
        url_bytes: of path and query string.
        head_bytes: of all headers.
        bytes: of one body.
        held_bytes: of all bodies at a time.
        timeout_s: time for a body to arrive, in seconds.
    """

    url_bytes: int
    head_bytes: int
    bytes: int
    held_bytes: int
    timeout_s: float


class RequestBodyMiddleware:
    """An ASGI app around `app` that reads bodies bounded, with a deadline, and to their end."""

    def __init__(
        self,
        app: AsgiApp,
        *,
        limits: BodyLimits,
        allows_body: Callable[[Scope], bool] = lambda scope: True,
    ) -> None:
        """Read bodies within `limits`, and only those of requests that `allows_body` allows."""
        self._app = app
        self._limits = limits
        self._held_bytes = 0
        self._deadlines = Deadlines(limits.timeout_s)
        self._allows_body = allows_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = b""
        # First of all: whoever sends what is refused below must be known when that is answered.
        allows_body = self._allows_body(scope)
        try:
            length = self._checked_length(scope)
            if allows_body:
                body = await self._read(receive, length)
            scope[_BODY_KEY] = body
        except IngestError as error:
            defer_error(scope, error)
        is_left = not (allows_body and _BODY_KEY in scope) and _announces_body(scope)
        is_first = True

        async def emptied() -> Mapping[str, Any]:
            nonlocal is_first
            if is_first:
                is_first = False
                return _EMPTY
            # The body was read up to its length: the message that ends it may still be to come.
            while (message := await receive())["type"] == "http.request":
                pass
            return message

        try:
            await self._app(scope, emptied, _closing(send) if is_left else send)
        finally:
            self._held_bytes -= len(body)
        if is_left:
            await self._discard(receive)

    def _checked_length(self, scope: Scope) -> int | None:
        """The Content-Length, if there is one."""
        if len(scope["raw_path"]) + len(scope["query_string"]) > self._limits.url_bytes:
            raise UrlTooLongError(f"The URL is longer than {self._limits.url_bytes} bytes")
        headers = scope["headers"]
        if sum(map(len, chain.from_iterable(headers))) > self._limits.head_bytes:
            raise HeadTooLargeError(f"The headers are larger than {self._limits.head_bytes} bytes")
        lengths = [value for name, value in headers if name == b"content-length"]
        if not lengths:
            return None
        if len(lengths) > 1 or b"transfer-encoding" in dict(headers):
            # Two parties that disagree about where the body ends can be made to smuggle requests.
            raise PayloadError("Send either Content-Length or Transfer-Encoding, and only once")
        if not lengths[0].isdigit():
            raise PayloadError("Content-Length must be a number")
        if len(lengths[0]) > 18 or int(lengths[0]) > self._limits.bytes:
            raise self._too_large()
        return int(lengths[0])

    async def _read(self, receive: Receive, length: int | None) -> bytes:
        task = self._deadlines.start()
        try:
            return await self._read_parts(receive, length)
        except asyncio.CancelledError:
            if not self._deadlines.passed(task):
                raise
            task.uncancel()
            raise BodyTimeoutError(
                f"The body did not arrive within {self._deadlines.timeout_s:g} s"
            ) from None
        finally:
            self._deadlines.stop(task)

    async def _read_parts(self, receive: Receive, length: int | None) -> bytes:
        body = b""
        parts: bytearray | None = None
        size = 0
        try:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise PayloadError("The body is cut off")
                part = message.get("body", b"")
                if not body:
                    body = part
                elif part:
                    # Not bytes + bytes: that would copy all of it for every part.
                    parts = bytearray(body) if parts is None else parts
                    parts += part
                size += len(part)
                self._held_bytes += len(part)
                if size > self._limits.bytes:
                    raise self._too_large()
                if self._held_bytes > self._limits.held_bytes and size < self._held_bytes:
                    raise BusyError
                # PERF: when the promised length is there, the message that says so would cost
                # another turn through the server's threads.
                if size == length or not message.get("more_body"):
                    return body if parts is None else bytes(parts)
        except BaseException:
            self._held_bytes -= size
            raise

    async def _discard(self, receive: Receive) -> None:
        """Read on for a moment after the answer: a connection that is closed while the client
        sends is reset, and the client may never see the answer (RFC 9112, section 9.6)."""
        size = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while size < self._limits.bytes * _LINGER_BODIES:
                    message = await receive()
                    if not message.get("more_body"):
                        return
                    size += len(message.get("body", b""))

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"Body is larger than {self._limits.bytes} bytes")


def _announces_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _closing(send: Send) -> Send:
    """Says that the connection ends with this answer, as it must when the next request could not be
    told from the rest of this one's body. The server does not always say so itself, and a client
    that is not told loses its next request."""

    async def closing(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        await send(message)

    return closing


class DeferredErrors:
    """Falcon middleware: raises what was found wrong before."""

    async def process_resource(
        self, req: Request, resp: Response, resource: object, params: dict[str, Any]
    ) -> None:
        error: Exception | None = req.scope.get(_ERROR_KEY)
        if error is not None:
            raise error
