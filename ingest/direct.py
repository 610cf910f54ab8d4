"""POST /events at its plainest, past Falcon.

PERF: Falcon with its middleware takes 60 µs of a request, as much as all else that happens to it.
What is not plain goes on to Falcon: a query string, a header that changes anything, a key with
limits of its own. So does every error, to be answered and counted as any other. A plain request has
the same reply either way (tests/end_to_end/test_contract.py compares).
"""

import time
from collections.abc import Awaitable, Callable, Mapping

import orjson

from ingest.auth import key_of
from ingest.body import AsgiApp, Receive, Scope, Send, body_in, fail
from ingest.gatherer import Taken
from ingest.ingestor import Ack
from ingest.keys import Key
from ingest.parse import JSON_TYPES
from ingest.resources import event_reply
from ingest.routes import PREFIXES

_PATHS = {f"{prefix}/events" for prefix in PREFIXES}
_SPEAKING = frozenset({b"content-encoding", b"idempotency-key", b"origin", b"prefer"})
"""The headers that change what is done or answered."""
_JSON = JSON_TYPES[0].encode()
_JSON_TYPES = frozenset(name.encode() for name in JSON_TYPES)


class DirectEvents:
    """An ASGI app around `app`, inside of `BodyGuard`."""

    def __init__(
        self,
        app: AsgiApp,
        *,
        take: Callable[[bytes], Awaitable[Taken]],
        ack: Ack,
        is_welcome: Callable[[Key | None], bool],
        headers: Mapping[str, str],
        fill: Callable[[], tuple[str, str]],
        observe: Callable[[str, str, int, float], None],
    ) -> None:
        """take: see `Gatherer`; ack: what it promises; is_welcome: whether who has
        this key may send events without more ado; headers: of every reply; fill: one more;
        observe: told method, route, status and seconds of what was answered here."""
        self._app = app
        self._take = take
        self._is_welcome = is_welcome
        self._headers = [_encoded(name, value) for name, value in headers.items()]
        self._headers += [
            _encoded("Content-Type", JSON_TYPES[0]),
            _encoded("Preference-Applied", f"ack={ack}"),
        ]
        self._fill = fill
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = body_in(scope) if self._is_plain(scope) else None
        if body is None:
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        try:
            event_id, is_known = await self._take(body)
        except Exception as error:
            fail(scope, error)
            await self._app(scope, receive, send)
            return
        await self._answer(send, orjson.dumps(event_reply(event_id, is_known)))
        self._observe("POST", scope["path"], 201, time.perf_counter() - started_s)

    def _is_plain(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in _PATHS:
            return False
        headers = dict(scope["headers"])
        return (
            not scope["query_string"]
            and _SPEAKING.isdisjoint(headers)
            and headers.get(b"content-type", _JSON).partition(b";")[0].rstrip() in _JSON_TYPES
            and self._is_welcome(key_of(scope))
        )

    async def _answer(self, send: Send, data: bytes) -> None:
        headers = [
            *self._headers,
            _encoded(*self._fill()),
            (b"content-length", b"%d" % len(data)),
        ]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": data})


def _encoded(name: str, value: str) -> tuple[bytes, bytes]:
    return name.lower().encode(), value.encode()
