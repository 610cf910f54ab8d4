"""What no handler has caught: logged, counted, and answered in the form of every other error.

Falcon answers what its responders and middleware raise. This ASGI wrapper is for the rest: requests
that Falcon can't even make a Request of, and bugs in the wrappers around Falcon.
"""

import time
from collections.abc import Callable
from typing import Any

import orjson
import structlog

from ingest.http.body import AsgiApp, Receive, Scope, Send
from ingest.http.errors import UNKNOWN_MESSAGE

log = structlog.get_logger()


class LastResort:
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
