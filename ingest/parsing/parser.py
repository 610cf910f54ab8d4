"""Parse bodies into batches of valid events: decompress, decode, validate.

Small bodies are parsed on the event loop, large bodies in threads and without the GIL.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from ingest.errors import IngestError, PayloadError, TooLargeError
from ingest.parsing.arrow_parser import Counted, parse_lines, parse_lists
from ingest.parsing.arrow_stream.stream_parser import parse_stream
from ingest.parsing.batch import Batch, Group, events_of
from ingest.parsing.compression import decompress, looks_compressed
from ingest.parsing.formats import BodyFormat, JsonFormat
from ingest.parsing.msgspec_parser import parse_event, parse_list
from ingest.parsing.strict_json import Decoded, check_count, decode, decode_lines
from ingest.parsing.validation import validate
from ingest.process import give_way

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

THREADS = 2
"""One thread works while the result of the other waits for the event loop."""
LARGE_BYTES = 128 * 1024
"""Bodies of at least this size are parsed in a thread.

PERF: below this size (about 160 events) the fixed cost of Arrow's reader, about 1 ms, is more than
it saves.
"""
QUICK_BYTES_MAX = 256 * 1024
"""PERF: handing a body to a thread takes as long as decompressing this many bytes."""

T = TypeVar("T")


class Parser:
    """Turns bodies into batches of valid events."""

    def __init__(self, *, decompressed_bytes_max: int, events_max: int) -> None:
        """Set the limits of one request: decompressed bytes, and events."""
        self._bytes_max = decompressed_bytes_max
        self._events_max = events_max
        self._threads = ThreadPoolExecutor(THREADS, "parser", initializer=give_way)

    async def decompress(self, body: bytes, encoding: str) -> bytes:
        """Decompress a body and remove its byte order mark.

        Args:
            body: as sent.
            encoding: the Content-Encoding; "" for none.

        Raises:
            IngestError: see `compression.decompress`. PayloadError also if the body is compressed
                twice.
        """
        if encoding:
            body = await self._decompress(body, encoding)
            inner = looks_compressed(body)
            if inner is not None:
                raise PayloadError(f"Body is compressed twice: below its {encoding} it is {inner}")
        return body.removeprefix(BYTE_ORDER_MARK)

    async def parse(self, body_format: BodyFormat, body: bytes) -> Batch:
        """Return the events of one body.

        Raises:
            IngestError: the body as a whole can't be read. An invalid event is in the batch's
                `rejected` instead.
        """
        if body_format is BodyFormat.ARROW:
            parse = partial(parse_stream, bytes_max=self._bytes_max, events_max=self._events_max)
            return await self._in_thread(parse, body)
        # A large body may also be slow to refuse. Other requests must not wait for that.
        if len(body) < LARGE_BYTES:
            return parse_body(body_format, body, self._events_max)
        return await self._in_thread(_parse_large, body_format, body, self._events_max)

    async def parse_group(self, body_format: JsonFormat, bodies: Sequence[bytes]) -> Group:
        """Return the events of many small bodies."""
        if body_format is BodyFormat.EVENT or sum(map(len, bodies)) < LARGE_BYTES:
            # PERF: there are rarely enough single events at a time to make columns faster.
            return parse_each(body_format, bodies, self._events_max)
        return await self._in_thread(_parse_together, body_format, bodies, self._events_max)

    async def _decompress(self, body: bytes, encoding: str) -> bytes:
        if len(body) < QUICK_BYTES_MAX:
            with suppress(TooLargeError):  # the thread tries again with the real limit
                return decompress(body, encoding, min(QUICK_BYTES_MAX, self._bytes_max))
        return await self._in_thread(decompress, body, encoding, self._bytes_max)

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)


def parse_body(body_format: JsonFormat, body: bytes, events_max: int) -> Batch:
    """Parse one body with msgspec if it is plainly valid, or else on the strict path.

    Raises:
        IngestError: the body as a whole can't be read.
    """
    match body_format:
        case BodyFormat.EVENT:
            return _parse_event(body)
        case BodyFormat.BATCH:
            return _parse_list(body, events_max)
        case BodyFormat.NDJSON:
            return validate(decode_lines(body, events_max))


def _parse_event(body: bytes) -> Batch:
    batch = parse_event(body)
    if batch is None:
        decoded = decode(body)
        batch = validate(Decoded([decoded.value], decoded.flawed))
    return batch


def _parse_list(body: bytes, events_max: int) -> Batch:
    batch = parse_list(body)
    if batch is None:
        decoded = decode(body)
        events = events_of(decoded.value)
        check_count(len(events), events_max)
        batch = validate(Decoded(events, decoded.flawed))
    check_count(batch.size, events_max)
    return batch


def parse_as_columns(body_format: JsonFormat, bodies: Sequence[bytes]) -> Counted | None:
    """Parse bodies with Arrow; None if one is not plainly valid, or the format is EVENT."""
    match body_format:
        case BodyFormat.EVENT:
            return None
        case BodyFormat.BATCH:
            return parse_lists(bodies)
        case BodyFormat.NDJSON:
            return parse_lines(bodies)


def _parse_large(body_format: JsonFormat, body: bytes, events_max: int) -> Batch:
    counted = parse_as_columns(body_format, [body])
    if counted is None:
        return parse_body(body_format, body, events_max)
    batch, _ = counted
    check_count(batch.size, events_max)
    return batch


def _parse_together(body_format: JsonFormat, bodies: Sequence[bytes], events_max: int) -> Group:
    counted = parse_as_columns(body_format, bodies)
    if counted is not None:
        batch, counts = counted
        if max(counts) <= events_max:
            return Group(batch, counts, {}, {})
    return parse_each(body_format, bodies, events_max)


def parse_each(body_format: JsonFormat, bodies: Sequence[bytes], events_max: int) -> Group:
    """Parse bodies one by one. Each may have at most `events_max` events."""
    events: list[bytes] = []
    ids: list[str | None] = []
    names: list[str] = []
    raw: list[Any] = []
    times_us: list[int | None] = []
    counts: list[int] = []
    unreadable: dict[int, IngestError] = {}
    invalid: dict[int, Batch] = {}
    for index, body in enumerate(bodies):
        try:
            one = parse_body(body_format, body, events_max)
        except IngestError as error:
            unreadable[index] = error
            counts.append(0)
            continue
        if one.rejected:
            invalid[index] = one
            counts.append(0)
            continue
        events += one.events
        ids += one.client_ids
        names += one.names
        raw += one.raw
        times_us += one.times_us
        counts.append(one.size)
    batch = Batch.of_valid(
        events,
        client_ids=ids,
        names=names,
        raw=raw,
        times_us=times_us,
    )
    return Group(batch, counts, unreadable, invalid)
