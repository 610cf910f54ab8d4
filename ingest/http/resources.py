"""The resources of POST /events and POST /events/batch, which call the ingestor, and the schema."""

from typing import Any, Protocol

import pyarrow as pa
from falcon.asgi import Request, Response

from ingest.auth.access import Access
from ingest.auth.authentication import key_of
from ingest.errors import PayloadError
from ingest.http.body import body_of
from ingest.http.headers import AckPolicy, idempotency_key, media_type
from ingest.http.replies import ingest_reply
from ingest.parsing.arrow_stream.columns import REQUIRED, STREAM_TYPE
from ingest.parsing.formats import ARROW_TYPE, BodyFormat, batch_format, event_format
from ingest.pipeline.ingestor import Ingestor
from ingest.pipeline.request import IngestRequest, Receipt

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class _IngestResource:
    """What both resources have in common."""

    def __init__(self, *, ingestor: Ingestor, access: Access, acks: AckPolicy) -> None:
        self._ingestor = ingestor
        self._access = access
        self._acks = acks

    async def _ingest(
        self, req: Request, resp: Response, body_format: BodyFormat, *, partial: bool
    ) -> None:
        request = IngestRequest(
            body=body_of(req),
            body_format=body_format,
            encoding=req.get_header("Content-Encoding") or "",
            idempotency_key=idempotency_key(req),
            partial=partial,
            ack=self._acks.asked_for(req),
        )
        reply = ingest_reply(request, await self._receipt(req, resp, request))
        resp.status = reply.status
        resp.set_headers(reply.headers)
        resp.data = reply.body

    async def _receipt(self, req: Request, resp: Response, request: IngestRequest) -> Receipt:
        limits = self._access.limits
        if not limits.apply("events", key_of(req.scope)):
            return await self._ingestor.ingest(request)
        batch = await self._ingestor.parse(request)
        await limits.take("events", req, resp, batch.size)
        return await self._ingestor.accept(batch, request)


class EventResource(_IngestResource):
    """POST /events: one event."""

    async def on_post(self, req: Request, resp: Response) -> None:
        """Ingest the event."""
        await self._ingest(req, resp, event_format(media_type(req)), partial=False)


class BatchResource(_IngestResource):
    """POST /events/batch: many events, as an object with a list, a bare list, or NDJSON."""

    async def on_post(self, req: Request, resp: Response) -> None:
        """Ingest the events."""
        partial = _boolean(req, "partial")
        await self._ingest(req, resp, batch_format(media_type(req)), partial=partial)


class SchemaResource:
    """GET /events/schema: the columns of an Arrow stream of events."""

    def __init__(self) -> None:
        """Prepare both answers."""
        schema = pa.schema(
            [pa.field(f.name, f.type, nullable=f.name not in REQUIRED) for f in STREAM_TYPE]
        )
        sink = pa.BufferOutputStream()
        pa.ipc.new_stream(sink, schema).close()
        self._stream = sink.getvalue().to_pybytes()
        self._columns = [
            {"name": f.name, "type": str(f.type), "required": not f.nullable} for f in schema
        ]

    async def on_get(self, req: Request, resp: Response) -> None:
        """Return the columns as JSON, or as an empty stream if the client accepts only that."""
        if req.client_accepts_json:
            resp.media = {"columns": self._columns}
        else:
            resp.content_type, resp.data = ARROW_TYPE, self._stream


class _Gets(Protocol):
    async def on_get(self, req: Request, resp: Response) -> None: ...


class EventsResource:
    """/events: POST ingests one event, GET returns events."""

    def __init__(self, *, post: EventResource, get: _Gets) -> None:
        """Use `post` for POST and `get` for GET."""
        self._post = post
        self._get = get

    async def on_post(self, req: Request, resp: Response) -> None:
        """Ingest one event."""
        await self._post.on_post(req, resp)

    async def on_get(self, req: Request, resp: Response) -> None:
        """Return events."""
        await self._get.on_get(req, resp)


def _boolean(req: Request, name: str) -> bool:
    value: Any = req.get_param(name)
    if value is None:
        return False
    if value.lower() not in _BOOLEANS:
        raise PayloadError(f'Query parameter {name} must be "true" or "false"')
    return _BOOLEANS[value.lower()]
