"""POST /events and POST /events/batch: from request to receipt; the rules are elsewhere."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import falcon
import orjson
from falcon.asgi import Request, Response

from ingest.errors import PayloadError
from ingest.http.body import body_of
from ingest.parsing import arrow_parser as columnar
from ingest.parsing.parser import JSON_TYPES, Form, Parser, many_form, one_form
from ingest.pipeline.batcher import RequestBatcher
from ingest.pipeline.ingestor import ACKS, Ack, Ingestor, Receipt

IDEMPOTENCY_KEY_LENGTH_MAX = 256

Count = Callable[[Request, Response, int], Awaitable[None]]
"""Counts the events of a request for who sent it. Raises RateLimitError, TooLargeError."""

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class AckPolicy:
    """What a 201 promises: by `Prefer: ack=…` (RFC 7240), else by setting."""

    def __init__(self, *, default: Ack, durable: bool) -> None:
        """durable: whether there is a log, without which no more than `buffered` can be promised
        short of `stored`."""
        self._default = default
        self._durable = durable

    @property
    def default(self) -> Ack:
        """The level of a request that does not say."""
        return self._possible(self._default)

    def asked_for(self, req: Request) -> Ack:
        """The level that will be applied. Raises PayloadError for one that there is not."""
        ack = self._default
        preference = req.get_header("Prefer")
        if preference is not None:
            ack = _preferred(preference) or ack
        return self._possible(ack)

    def _possible(self, ack: Ack) -> Ack:
        return "buffered" if ack == "durable" and not self._durable else ack


def _preferred(preference: str) -> Ack | None:
    for token in preference.split(","):
        name, _, value = token.partition(";")[0].partition("=")
        if name.strip().lower() == "ack":
            value = value.strip().strip('"').lower()
            for known in ACKS:
                if value == known:
                    return known
            raise PayloadError(f"Prefer: ack must be one of {', '.join(ACKS)}")
    return None


def _reply(receipt: Receipt) -> dict[str, Any]:
    """What is said of one event that was accepted."""
    reply: dict[str, Any] = {"id": receipt.ids[0]}
    if receipt.duplicates:
        reply["duplicate"] = True
    return reply


def _batch_reply(receipt: Receipt) -> dict[str, Any]:
    """What is said of a request's events that were accepted, as far as they were."""
    reply: dict[str, Any] = {"ids": receipt.ids}
    if receipt.duplicates:
        reply["duplicates"] = receipt.duplicates
    return reply


class _EventsResource:
    def __init__(
        self,
        parser: Parser,
        ingestor: Ingestor,
        acks: AckPolicy,
        count: Count,
        gatherers: Mapping[Form, RequestBatcher],
    ) -> None:
        self._parser = parser
        self._ingestor = ingestor
        self._acks = acks
        self._count = count
        self._gatherers = gatherers

    async def _body(self, req: Request) -> bytes:
        encoding = req.get_header("Content-Encoding") or ""
        return await self._parser.unpack(body_of(req), encoding)

    async def _take(self, form: Form, body: bytes, encoding: str) -> Receipt:
        """The receipt of a request that says nothing but its events. Raises IngestError."""
        body = await self._parser.unpack(body, encoding)
        # Others would wait for what is large.
        if len(body) < columnar.BYTES_MIN:
            return await self._gatherers[form].take(body)
        batch = await self._parser.parse(form, body)
        return await self._ingestor.ingest(
            batch, idempotency_key=None, partial=False, ack=self._acks.default
        )


class EventResource(_EventsResource):
    """One event."""

    async def answer(self, body: bytes, media_type: str, encoding: str) -> dict[str, Any]:
        """The reply to a plain request. Raises IngestError."""
        return _reply(await self._take(one_form(media_type), body, encoding))

    async def on_post(self, req: Request, resp: Response) -> None:
        form = one_form(_media_type(req))
        batch = await self._parser.parse(form, await self._body(req))
        await self._count(req, resp, 1)
        ack = self._acks.asked_for(req)
        receipt = await self._ingestor.ingest(
            batch, idempotency_key=_idempotency_key(req), partial=False, ack=ack
        )
        resp.status = 201
        _answer(resp, _reply(receipt), ack)


class BatchResource(_EventsResource):
    """Many events: an object with a list, a bare list, or one event a line."""

    async def answer(self, body: bytes, media_type: str, encoding: str) -> dict[str, Any]:
        """The reply to a plain request. Raises IngestError."""
        return _batch_reply(await self._take(many_form(media_type), body, encoding))

    async def on_post(self, req: Request, resp: Response) -> None:
        partial = _boolean(req, "partial")
        form = many_form(_media_type(req))
        batch = await self._parser.parse(form, await self._body(req))
        await self._count(req, resp, batch.size)
        ack = self._acks.asked_for(req)
        receipt = await self._ingestor.ingest(
            batch, idempotency_key=_idempotency_key(req), partial=partial, ack=ack
        )
        resp.status = 207 if receipt.rejected else 201
        reply = _batch_reply(receipt)
        if partial:
            reply["accepted"] = len(receipt.ids) - receipt.ids.count(None)
            reply["rejected"] = receipt.rejected
        _answer(resp, reply, ack)


def _answer(resp: Response, reply: dict[str, Any], ack: Ack) -> None:
    resp.set_header("Preference-Applied", f"ack={ack}")
    # PERF: what resp.media does, without looking for a handler of the type.
    resp.data = orjson.dumps(reply)
    resp.content_type = falcon.MEDIA_JSON


def _media_type(req: Request) -> str:
    """Without parameters; JSON's where there is none."""
    return (req.content_type or JSON_TYPES[0]).partition(";")[0].strip().lower()


def _boolean(req: Request, name: str) -> bool:
    value = req.get_param(name)
    if value is None:
        return False
    if value.lower() not in _BOOLEANS:
        raise PayloadError(f'Query parameter {name} must be "true" or "false"')
    return _BOOLEANS[value.lower()]


def _idempotency_key(req: Request) -> str | None:
    key = req.get_header("Idempotency-Key")
    if key is not None and not 1 <= len(key) <= IDEMPOTENCY_KEY_LENGTH_MAX:
        raise PayloadError(
            f"Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_LENGTH_MAX} characters"
        )
    return key
