"""A client that goes away takes its question with it: the work at it is cancelled.

An ASGI wrapper for GET requests; nothing that changes anything is ever cancelled this way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class CancelOnDisconnect:
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
