"""From a body to a batch of valid events: decompress, decode, validate; in threads when large."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ingest.columnar import COLUMNAR_BYTES_MIN, parse_lines, parse_list
from ingest.decode import Decoded, decode, decode_lines
from ingest.encoding import decompress
from ingest.errors import MediaTypeError, TooLargeError
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
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="parser")

    async def parse_event(self, body: bytes, *, media_type: str, encoding: str) -> Batch:
        """The event of a body with one. Raises IngestError for a body that can't be read."""
        if media_type not in JSON_TYPES:
            raise MediaTypeError(f"Content-Type must be {JSON_TYPES[0]}")
        decoded = decode(await self._decompress(body, encoding))
        return validate(Decoded([decoded.value], decoded.flawed))

    async def parse_events(self, body: bytes, *, media_type: str, encoding: str) -> Batch:
        """The events of a body with many. Raises IngestError for a body that can't be read."""
        if media_type != NDJSON_TYPE and media_type not in JSON_TYPES:
            raise MediaTypeError(f"Content-Type must be {JSON_TYPES[0]} or {NDJSON_TYPE}")
        is_lines = media_type == NDJSON_TYPE
        body = await self._decompress(body, encoding)
        batch = None
        if len(body) >= COLUMNAR_BYTES_MIN:
            batch = await self._in_thread(parse_lines if is_lines else parse_list, body)
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


def _decode_list(body: bytes) -> Decoded:
    decoded = decode(body)
    return Decoded(events_of(decoded.value), decoded.flawed)
