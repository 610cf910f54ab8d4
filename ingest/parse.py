"""From a body to a batch of valid events: decompress, decode, validate; in threads when large."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import orjson

from ingest import typed
from ingest.columnar import COLUMNAR_BYTES_MIN, parse_lines, parse_list
from ingest.decode import Decoded, decode, decode_lines
from ingest.encoding import decompress
from ingest.errors import IngestError, MediaTypeError, PayloadError, RejectedError, TooLargeError
from ingest.priority import give_way
from ingest.validate import Batch, events_of, validate

JSON_TYPES = ("application/json", "text/plain", "application/x-www-form-urlencoded")
"""sendBeacon says text/plain and curl says form: what they send here is JSON all the same."""
NDJSON_TYPE = "application/x-ndjson"

THREADS = 2
"""One works while the other's result waits for the event loop."""
THREADED_BYTES_MIN = 64 * 1024
"""PERF: decompressing fewer bytes takes less than a thread's hand-over."""

T = TypeVar("T")


class Parser:
    def __init__(self, *, decompressed_bytes_max: int, events_max: int) -> None:
        """decompressed_bytes_max, events_max: what one request may carry."""
        self._bytes_max = decompressed_bytes_max
        self._events_max = events_max
        self._threads = ThreadPoolExecutor(THREADS, "parser", initializer=give_way)

    async def parse_event(self, body: bytes, *, media_type: str, encoding: str) -> Batch:
        """The event of a body with one. Raises IngestError for a body that can't be read."""
        if media_type not in JSON_TYPES:
            raise MediaTypeError(f"Content-Type must be {JSON_TYPES[0]}")
        return _parse_slowly(await self._decompress(body, encoding))

    async def parse_events(self, body: bytes, *, media_type: str, encoding: str) -> Batch:
        """The events of a body with many. Raises IngestError for a body that can't be read."""
        if media_type != NDJSON_TYPE and media_type not in JSON_TYPES:
            raise MediaTypeError(f"Content-Type must be {JSON_TYPES[0]} or {NDJSON_TYPE}")
        is_lines = media_type == NDJSON_TYPE
        body = await self._decompress(body, encoding)
        batch = None
        if len(body) >= COLUMNAR_BYTES_MIN:
            batch = await self._in_thread(parse_lines if is_lines else parse_list, body)
        elif not is_lines:
            batch = typed.parse_list(body)
        if batch is None:
            decoded = decode_lines(body, self._events_max) if is_lines else _decode_list(body)
            self._check_count(len(decoded.value))
            batch = validate(decoded)
        self._check_count(batch.size)
        return batch

    async def _decompress(self, body: bytes, encoding: str) -> bytes:
        if not encoding or len(body) < THREADED_BYTES_MIN:
            return decompress(body, encoding, self._bytes_max)
        return await self._in_thread(decompress, body, encoding, self._bytes_max)

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)

    def _check_count(self, events: int) -> None:
        if events > self._events_max:
            raise TooLargeError(
                f"A request may carry at most {self._events_max} events, not {events}"
            )


def parse_each(bodies: Sequence[bytes]) -> tuple[Batch, dict[int, IngestError]]:
    """The events of bodies with one each, and by index what is wrong with the bodies without one.

    What can't be read at all (PayloadError) does not count in the batch's `size`.
    """
    texts, ids, raw, times_us, indexes = [], [], [], [], []
    errors: dict[int, IngestError] = {}
    unread = 0
    for index, body in enumerate(bodies):
        plain = typed.parse_event(body)
        if plain is None:
            try:
                one = _parse_slowly(body)
            except PayloadError as error:
                errors[index] = error
                unread += 1
                continue
            if one.rejected:
                errors[index] = RejectedError(list(one.rejected), 1)
                continue
            plain = one.events[0], one.client_ids[0], one.times_us[0]
        text, event_id, time_us = plain
        texts.append(text)
        ids.append(event_id)
        # Needed only to make an id out of what was sent.
        raw.append(orjson.loads(body) if event_id is None else None)
        times_us.append(time_us)
        indexes.append(index)
    return Batch(texts, ids, raw, times_us, indexes, (), len(bodies) - unread), errors


def _parse_slowly(body: bytes) -> Batch:
    decoded = decode(body)
    return validate(Decoded([decoded.value], decoded.flawed))


def _decode_list(body: bytes) -> Decoded:
    decoded = decode(body)
    return Decoded(events_of(decoded.value), decoded.flawed)
