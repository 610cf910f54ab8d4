"""POST /events and POST /events/batch: from request to receipt; the rules are elsewhere."""

import functools
from typing import Any

from falcon.asgi import Request, Response

from ingest.columnar import parse_lines, parse_list
from ingest.decode import Decoded, decode, decode_lines
from ingest.encoding import decompress
from ingest.errors import MediaTypeError, PayloadError
from ingest.ingestor import Ingestor
from ingest.validate import events_of

JSON_TYPES = ("application/json", "text/plain", "application/x-www-form-urlencoded")
"""sendBeacon says text/plain and curl says form: what they send here is JSON all the same."""
NDJSON_TYPE = "application/x-ndjson"
IDEMPOTENCY_KEY_LENGTH_MAX = 256

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class EventResource:
    """One event."""

    def __init__(self, *, ingestor: Ingestor, decompressed_bytes_max: int) -> None:
        self._ingestor = ingestor
        self._bytes_max = decompressed_bytes_max

    async def on_post(self, req: Request, resp: Response) -> None:
        if _media_type(req) not in JSON_TYPES:
            raise MediaTypeError(f"Content-Type must be {JSON_TYPES[0]}")
        decoded = decode(await _body(req, self._bytes_max))
        receipt = await self._ingestor.ingest(
            Decoded([decoded.value], decoded.flawed),
            idempotency_key=_idempotency_key(req),
            partial=False,
        )
        resp.status = 201
        reply: dict[str, Any] = {"id": receipt.ids[0]}
        if receipt.duplicates:
            reply["duplicate"] = True
        resp.media = reply


class BatchResource:
    """Many events: an object with a list, a bare list, or one event a line."""

    def __init__(self, *, ingestor: Ingestor, decompressed_bytes_max: int, events_max: int) -> None:
        self._ingestor = ingestor
        self._bytes_max = decompressed_bytes_max
        self._events_max = events_max

    async def on_post(self, req: Request, resp: Response) -> None:
        media_type = _media_type(req)
        if media_type == NDJSON_TYPE:
            body = await _body(req, self._bytes_max)
            decoded = decode_lines(body, self._events_max)
            columnar = functools.partial(parse_lines, body, decoded.value)
        elif media_type in JSON_TYPES:
            body = await _body(req, self._bytes_max)
            decoded = decode(body)
            decoded = Decoded(events_of(decoded.value), decoded.flawed)
            columnar = functools.partial(parse_list, body, decoded.value)
        else:
            raise MediaTypeError(f"Content-Type must be {JSON_TYPES[0]} or {NDJSON_TYPE}")
        partial = _boolean(req, "partial")
        receipt = await self._ingestor.ingest(
            decoded,
            columnar=columnar,
            idempotency_key=_idempotency_key(req),
            partial=partial,
        )
        resp.status = 207 if receipt.rejected else 201
        reply: dict[str, Any] = {"ids": receipt.ids}
        if receipt.duplicates:
            reply["duplicates"] = receipt.duplicates
        if partial:
            reply["accepted"] = len(receipt.ids) - receipt.ids.count(None)
            reply["rejected"] = receipt.rejected
        resp.media = reply


def _media_type(req: Request) -> str:
    """Without its parameters; JSON when the client names none."""
    return (req.content_type or JSON_TYPES[0]).partition(";")[0].strip().lower()


async def _body(req: Request, bytes_max: int) -> bytes:
    return decompress(await req.stream.read(), req.get_header("Content-Encoding") or "", bytes_max)


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
