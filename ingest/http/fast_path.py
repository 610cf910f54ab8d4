"""The fast path: plain requests with events, without Falcon.

PERF: Falcon with its middleware takes 60 µs of a request, as much as everything else that happens
to a single event or to five in a batch (docs/decisions/fast-path.md has the measurement). Falcon
gets the requests that are not plain: those with a query string, with a header that changes the
outcome or is repeated, or with a key that has its own limits. It also gets every error, so that all
errors are answered and counted in one place. A plain request has the same reply on both paths
(tests/end_to_end/test_fast_path.py compares them).
"""

import time
from collections.abc import Callable, Mapping, Sequence

from ingest.auth.access import Access
from ingest.auth.authentication import key_of
from ingest.http.asgi import AsgiApp, AsgiScope, Receive, Send
from ingest.http.body import body_in, defer_error
from ingest.http.headers import AckPolicy, ResponseHeaders, encoded
from ingest.http.replies import IngestReply, ingest_reply
from ingest.http.routes import PREFIXES
from ingest.parsing.formats import ARROW_TYPE, JSON_TYPES, NDJSON_TYPES, BodyFormat
from ingest.pipeline.ingestor import Ingestor
from ingest.pipeline.request import IngestRequest

_NOT_PLAIN = frozenset({b"idempotency-key", b"origin", b"prefer"})
"""The headers that change how a request is handled or answered."""
_FORMATS: Mapping[tuple[str, bytes], BodyFormat] = {
    (prefix + path, media_type.encode()): body_format
    for prefix in PREFIXES
    for path, media_types, body_format in (
        ("/events", JSON_TYPES, BodyFormat.EVENT),
        ("/events/batch", JSON_TYPES, BodyFormat.BATCH),
        ("/events/batch", NDJSON_TYPES, BodyFormat.NDJSON),
        ("/events/batch", (ARROW_TYPE,), BodyFormat.ARROW),
    )
    for media_type in media_types
}
"""Formats by path and media type."""
_JSON = JSON_TYPES[0].encode()
_PATHS = frozenset(path for path, _ in _FORMATS)


class FastPath:
    """An ASGI app around the Falcon app, inside of `RequestBodyMiddleware`."""

    def __init__(
        self,
        app: AsgiApp,
        *,
        ingestor: Ingestor,
        access: Access,
        acks: AckPolicy,
        response_headers: ResponseHeaders,
        observe: Callable[[str, str, int, float], None],
    ) -> None:
        """Wrap `app`.

        Args:
            app: gets all other requests.
            ingestor: ingests the events.
            access: tells which keys allow the fast path.
            acks: chooses the acknowledgement level.
            response_headers: the headers of every response.
            observe: called with method, route, status and seconds of each request answered here.
        """
        self._app = app
        self._ingestor = ingestor
        self._access = access
        self._acks = acks
        self._response_headers = response_headers
        self._observe = observe
        self._common: Sequence[tuple[bytes, bytes]] = ()
        self._headers: Sequence[tuple[bytes, bytes]] = ()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer the request, or let `app` answer it."""
        request = self._plain_request(scope)
        if request is None:
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        try:
            receipt = await self._ingestor.ingest(request)
        except Exception as error:
            defer_error(scope, error)
            await self._app(scope, receive, send)
            return
        reply = ingest_reply(request, receipt)
        await self._send(send, reply)
        self._observe("POST", scope["path"], reply.status, time.perf_counter() - started_s)

    def _plain_request(self, scope: AsgiScope) -> IngestRequest | None:
        """Return the request, or None if it is not plain."""
        path = scope.get("path")
        if path not in _PATHS or scope.get("method") != "POST" or scope["query_string"]:
            return None
        headers = dict(scope["headers"])
        if len(headers) < len(scope["headers"]) or not _NOT_PLAIN.isdisjoint(headers):
            return None
        if not self._access.allows_fast_path(key_of(scope)):
            return None
        media_type = headers.get(b"content-type", _JSON).partition(b";")[0]
        body_format = _FORMATS.get((path, media_type.rstrip()))
        body = body_in(scope)
        if body_format is None or body is None:
            return None
        return IngestRequest(
            body=body,
            body_format=body_format,
            encoding=headers.get(b"content-encoding", b"").decode("latin-1"),
            idempotency_key=None,
            partial=False,
            ack=self._acks.default,
        )

    async def _send(self, send: Send, reply: IngestReply) -> None:
        common = self._response_headers.encoded()
        if common is not self._common:  # PERF: it changes only ten times a second
            self._common = common
            self._headers = [*common, *encoded(reply.headers)]
        headers = [*self._headers, (b"content-length", b"%d" % len(reply.body))]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})
