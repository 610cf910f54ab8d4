"""Reads whole request bodies, within limits, before Falcon sees the request.

Falcon does not do this: it takes a disconnect for the end of the body, and it has no size limit and
no deadline. So this ASGI app reads the body, and Falcon only gets complete bodies. Errors are
deferred: `DeferredErrors` raises them once Falcon knows the route, so that they are answered and
counted like all other errors.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
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
from ingest.http.asgi import AsgiApp, AsgiScope, Receive, Send
from ingest.http.deadlines import Deadlines

_BODY_KEY, _ERROR_KEY = "event_stream.body", "event_stream.body_error"
_EMPTY = {"type": "http.request", "body": b"", "more_body": False}

_LINGER_S = 2.0
"""How long the rest of a refused body is read and discarded."""
_LINGER_BODIES = 4
"""How much of it is read, in multiples of the largest allowed body."""


def body_of(req: Request) -> bytes:
    """Return the whole body of the request."""
    # PERF: Falcon's stream over the same bytes takes 5 µs.
    body: bytes = req.scope[_BODY_KEY]
    return body


def body_in(scope: AsgiScope) -> bytes | None:
    """Return the whole body of the request, or None if the request has a deferred error.

    The body is empty if the client may not send one.
    """
    return scope.get(_BODY_KEY)


def defer_error(scope: AsgiScope, error: Exception) -> None:
    """Store `error` in `scope`; `DeferredErrors` raises it once Falcon knows the route."""
    scope[_ERROR_KEY] = error


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Limits for the size and the time of requests.

    Attributes:
        url_bytes: size of the path and the query string.
        head_bytes: size of all headers together.
        bytes: size of one body.
        held_bytes: size of all bodies that are held in memory at the same time.
        timeout_s: time that a body may take to arrive, in seconds.
    """

    url_bytes: int
    head_bytes: int
    bytes: int
    held_bytes: int
    timeout_s: float


class RequestBodyMiddleware:
    """An ASGI app around `app` that reads whole bodies, with size limits and a deadline."""

    def __init__(
        self,
        app: AsgiApp,
        *,
        limits: BodyLimits,
        allows_body: Callable[[AsgiScope], bool] = lambda scope: True,
    ) -> None:
        """Wrap `app`.

        Args:
            app: handles the requests whose bodies were read.
            limits: limits of URL, headers and body.
            allows_body: whether the client of a request may send a body. If not, the body is not
                read.
        """
        self._app = app
        self._limits = limits
        self._held_bytes = 0
        self._deadlines = Deadlines(limits.timeout_s)
        self._allows_body = allows_body

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Read the body, let `app` handle the request, and discard what is left of the body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = b""
        # Called before the checks, because it finds the key, which the answer to a refused request
        # needs, too.
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

        async def receive_rest() -> Mapping[str, Any]:
            nonlocal is_first
            if is_first:
                is_first = False
                return _EMPTY
            # The body was read up to its length. The message that ends it may still come.
            while (message := await receive())["type"] == "http.request":
                pass
            return message

        try:
            await self._app(scope, receive_rest, _closing(send) if is_left else send)
        finally:
            self._held_bytes -= len(body)
        if is_left:
            await self._discard(receive)

    def _checked_length(self, scope: AsgiScope) -> int | None:
        """Check URL, headers and announced length; return the Content-Length, if there is one."""
        if len(scope["raw_path"]) + len(scope["query_string"]) > self._limits.url_bytes:
            raise UrlTooLongError(f"The URL is longer than {self._limits.url_bytes} bytes")
        headers = scope["headers"]
        if sum(map(len, chain.from_iterable(headers))) > self._limits.head_bytes:
            raise HeadTooLargeError(f"The headers are larger than {self._limits.head_bytes} bytes")
        lengths = [value for name, value in headers if name == b"content-length"]
        if not lengths:
            return None
        if len(lengths) > 1 or b"transfer-encoding" in dict(headers):
            # If a proxy and this service disagree about where the body ends, a client can smuggle
            # a second request past the proxy.
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
        parts: BytesIO | None = None
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
                    # PERF: bytes + bytes would copy the whole body for every part.
                    if parts is None:
                        parts = BytesIO()
                        parts.write(body)
                    parts.write(part)
                size += len(part)
                self._held_bytes += len(part)
                if size > self._limits.bytes:
                    raise self._too_large()
                if self._held_bytes > self._limits.held_bytes and size < self._held_bytes:
                    raise BusyError
                # PERF: with the full Content-Length here, the last message is not awaited, because
                # it costs another switch between the server's threads.
                if size == length or not message.get("more_body"):
                    return body if parts is None else parts.getvalue()  # which is no copy
        except BaseException:
            self._held_bytes -= size
            raise

    async def _discard(self, receive: Receive) -> None:
        """Read and discard the rest of the body after the response, for a limited time.

        If a connection is closed while the client sends, it is reset, and the client may never see
        the response (RFC 9112, section 9.6).
        """
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


def _announces_body(scope: AsgiScope) -> bool:
    headers = dict(scope["headers"])
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _closing(send: Send) -> Send:
    """Add `Connection: close` to the response.

    The connection must end because the next request can't be told from the rest of this body. The
    server does not always add the header, and a client without it loses its next request.
    """

    async def send_with_header(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        await send(message)

    return send_with_header


class DeferredErrors:
    """Falcon middleware that raises the error stored by `defer_error`."""

    async def process_resource(
        self, req: Request, resp: Response, resource: object, params: dict[str, Any]
    ) -> None:
        """Raise the error, if there is one."""
        error: Exception | None = req.scope.get(_ERROR_KEY)
        if error is not None:
            raise error
