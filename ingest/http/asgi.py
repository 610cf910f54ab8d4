"""ASGI types, and the small wrappers around the Falcon app.

`LastResort` answers what no handler has caught, `HeadAsGet` answers HEAD, and `CancelOnDisconnect`
stops queries that nobody waits for.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
import structlog

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

UNKNOWN_MESSAGE = "Something went wrong here; it was logged"

log = structlog.get_logger()


class LastResort:
    """Log, count and answer an error that no handler has caught.

    Falcon answers what its responders and middleware raise. This wrapper is for requests that
    Falcon can't even make a `Request` of, and for bugs in the other wrappers.
    """

    def __init__(self, app: AsgiApp, observe: Callable[[str, str, int, float], None]) -> None:
        """observe: told method, route, status and seconds of what was answered here."""
        self._app = app
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        has_started = False

        async def noted(message: dict[str, Any]) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            log.error("request failed outside of any handler", path=scope["path"], exc_info=error)
            self._observe("none", "none", 500, time.perf_counter() - started_s)
            if has_started:
                raise
            await _answer(send)


async def _answer(send: Send) -> None:
    body = orjson.dumps({"message": UNKNOWN_MESSAGE, "code": 500})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class HeadAsGet:
    """An ASGI app around `app`: a HEAD is answered as a GET is, without the body."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                if message.get("more_body"):
                    return
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, without_body)


class CancelOnDisconnect:
    """Cancel a GET whose client has gone away, and with it the query.

    A request that changes anything is never cancelled this way.
    """

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        messages = [await receive()]
        gone = asyncio.ensure_future(receive())

        async def replayed() -> Mapping[str, Any]:
            return messages.pop() if messages else await asyncio.shield(gone)

        serving = asyncio.ensure_future(self._app(scope, replayed, send))
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
