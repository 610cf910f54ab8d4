"""ASGI types, and three small ASGI apps around the Falcon app.

`LastResort` answers with 500 if an error reaches it, `HeadAsGet` answers HEAD requests, and
`CancelOnDisconnect` stops the query of a client that has disconnected.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
import structlog

AsgiScope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
AsgiApp = Callable[[AsgiScope, Receive, Send], Awaitable[None]]

UNKNOWN_MESSAGE = "Something went wrong here; it was logged"

log = structlog.get_logger()


class LastResort:
    """An ASGI app around `app` that logs and counts uncaught errors, and answers with 500.

    Falcon handles the errors of its resources and middleware. This app handles the others: Falcon
    may fail to make a `Request`, and the other ASGI apps may have bugs.
    """

    def __init__(self, app: AsgiApp, observe: Callable[[str, str, int, float], None]) -> None:
        """Wrap `app`.

        Args:
            app: handles the requests.
            observe: called with the method, route, status and seconds of a request that failed.
        """
        self._app = app
        self._observe = observe

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Let `app` handle the request, and answer if it raises.

        Raises:
            Exception: `app` failed after it had started its response.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        has_started = False

        async def note_start_and_send(message: dict[str, Any]) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive, note_start_and_send)
        except Exception as error:
            log.error("request failed outside of any handler", path=scope["path"], exc_info=error)
            self._observe("none", "none", 500, time.perf_counter() - started_s)
            if has_started:
                raise
            await _send_500(send)


async def _send_500(send: Send) -> None:
    body = orjson.dumps({"message": UNKNOWN_MESSAGE, "code": 500})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class HeadAsGet:
    """An ASGI app around `app` that answers a HEAD request like a GET request, without the body."""

    def __init__(self, app: AsgiApp) -> None:
        """Wrap `app`, which handles GET."""
        self._app = app

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Let `app` handle the request, and drop the body of a response to HEAD."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                if message.get("more_body"):
                    return
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, send_without_body)


class CancelOnDisconnect:
    """An ASGI app around `app` that cancels a GET request, with its query, if the client is gone.

    Other requests are never cancelled, because they may change something.
    """

    def __init__(self, app: AsgiApp) -> None:
        """Wrap `app`, which must tolerate being cancelled in a GET request."""
        self._app = app

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Let `app` handle the request until the client disconnects."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        messages = [await receive()]
        # `messages` has the request, so the next message is the disconnect.
        gone = asyncio.ensure_future(receive())

        async def receive_again() -> Mapping[str, Any]:
            return messages.pop() if messages else await asyncio.shield(gone)

        serving = asyncio.ensure_future(self._app(scope, receive_again, send))
        try:
            await asyncio.wait({gone, serving}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                serving.cancel()
                await asyncio.wait({serving})
            if not serving.cancelled():
                serving.result()
        finally:
            gone.cancel()
            serving.cancel()
