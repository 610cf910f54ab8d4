"""Events at their plainest, past Falcon.

PERF: Falcon with its middleware takes 60 µs of a request, as much as all else that happens to a
single event or to five in a batch. What is not plain goes on to Falcon: a query string, a header
that changes anything or comes twice, a key with limits of its own. So does every error, to be
answered and counted as any other. A plain request has the same reply either way
(tests/end_to_end/test_direct.py compares).
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ingest.auth.authentication import key_of
from ingest.auth.keys import Key
from ingest.http.asgi import AsgiApp, Receive, Scope, Send
from ingest.http.body import body_in, fail
from ingest.http.routes import PREFIXES
from ingest.parsing.parser import JSON_TYPES
from ingest.pipeline.ingestor import Ack

_SPEAKING = frozenset({b"idempotency-key", b"origin", b"prefer"})
"""The headers that change what is done or answered."""
_JSON = JSON_TYPES[0].encode()


Answer = Callable[[bytes, str, str], Awaitable[dict[str, Any]]]
"""The reply to a body of a media type and with a Content-Encoding, which may be empty, once it may
be acknowledged. Raises IngestError."""


@dataclass(frozen=True, slots=True)
class Plain:
    """What is taken at one path."""

    media_types: Sequence[str]
    answer: Answer


class FastPath:
    """An ASGI app around `app`, inside of `RequestBodyMiddleware`."""

    def __init__(
        self,
        app: AsgiApp,
        *,
        plain: Mapping[str, Plain],
        ack: Ack,
        allows_fast_path: Callable[[Key | None], bool],
        headers: Mapping[str, str],
        fill: Callable[[], tuple[str, str]],
        observe: Callable[[str, str, int, float], None],
    ) -> None:
        """plain: by path; ack: what an answer promises; allows_fast_path: whether who has this key may
        send events without more ado; headers: of every reply; fill: one more; observe: told method,
        route, status and seconds of what was answered here."""
        self._app = app
        self._answers = {
            (prefix + path, media_type.encode()): (each.answer, media_type)
            for prefix in PREFIXES
            for path, each in plain.items()
            for media_type in each.media_types
        }
        self._paths = {path for path, _ in self._answers}
        self._allows_fast_path = allows_fast_path
        self._headers = [_encoded(name, value) for name, value in headers.items()]
        self._headers += [
            _encoded("Content-Type", JSON_TYPES[0]),
            _encoded("Preference-Applied", f"ack={ack}"),
        ]
        self._fill = fill
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        plain = self._plain(scope)
        body = body_in(scope)
        if plain is None or body is None:
            await self._app(scope, receive, send)
            return
        answer, media_type, encoding = plain
        started_s = time.perf_counter()
        try:
            reply = await answer(body, media_type, encoding)
        except Exception as error:
            fail(scope, error)
            await self._app(scope, receive, send)
            return
        await self._send(send, orjson.dumps(reply))
        self._observe("POST", scope["path"], 201, time.perf_counter() - started_s)

    def _plain(self, scope: Scope) -> tuple[Answer, str, str] | None:
        """Who answers a request, if it is plain, and the media type and encoding of its body."""
        path = scope.get("path")
        if path not in self._paths or scope.get("method") != "POST" or scope["query_string"]:
            return None
        headers = dict(scope["headers"])
        if len(headers) < len(scope["headers"]) or not _SPEAKING.isdisjoint(headers):
            return None
        if not self._allows_fast_path(key_of(scope)):
            return None
        media_type = headers.get(b"content-type", _JSON).partition(b";")[0].rstrip()
        known = self._answers.get((path, media_type))
        return known and (*known, headers.get(b"content-encoding", b"").decode("latin-1"))

    async def _send(self, send: Send, data: bytes) -> None:
        headers = [
            *self._headers,
            _encoded(*self._fill()),
            (b"content-length", b"%d" % len(data)),
        ]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": data})


def _encoded(name: str, value: str) -> tuple[bytes, bytes]:
    return name.lower().encode(), value.encode()
