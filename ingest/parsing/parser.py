"""From bodies to batches of valid events: decompress, decode, validate; in threads when large."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from ingest.errors import (
    IngestError,
    MediaTypeError,
    PayloadError,
    RejectedError,
    TooLargeError,
)
from ingest.parsing import arrow_parser as columnar
from ingest.parsing import msgspec_parser as typed
from ingest.parsing.compression import decompress, looks_compressed
from ingest.parsing.strict_json import Decoded, decode, decode_lines
from ingest.parsing.validation import Batch, events_of, validate
from ingest.process import give_way

JSON_TYPES = ("application/json", "text/plain", "application/x-www-form-urlencoded")
"""sendBeacon says text/plain and curl says form: what they send here is JSON all the same."""
NDJSON_TYPE = "application/x-ndjson"
NDJSON_TYPES = (
    NDJSON_TYPE, "application/ndjson", "application/jsonl", "application/x-jsonl",
    "application/jsonlines", "application/x-jsonlines", "application/json-lines", "text/x-ndjson",
)  # fmt: skip
"""It has no registered name; these are in use."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

THREADS = 2
"""One works while the other's result waits for the event loop."""
QUICK_BYTES_MAX = 256 * 1024
"""PERF: decompressing to so many bytes takes no longer than a thread's hand-over."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Form:
    """How a body has its events.

    alone: the events of one body, which has at most so many, raising IngestError; together: the
    fast path for many bytes, if there is one, see `columnar`.
    """

    alone: Callable[[bytes, int], Batch]
    together: Callable[[Sequence[bytes]], columnar.Counted | None] | None = None


@dataclass(slots=True)
class Group:
    """Several requests in one. batch: the events of all that are in order; counts: how many each
    request has in it, none of a request with an error; errors: by request, why it is refused.

    What could not even be read does not count in the batch's `size`.
    """

    batch: Batch
    counts: Sequence[int]
    errors: Mapping[int, IngestError]


class Parser:
    def __init__(self, *, decompressed_bytes_max: int, events_max: int) -> None:
        """decompressed_bytes_max, events_max: what one request may carry."""
        self._bytes_max = decompressed_bytes_max
        self._events_max = events_max
        self._threads = ThreadPoolExecutor(THREADS, "parser", initializer=give_way)

    async def parse(self, form: Form, body: bytes) -> Batch:
        """The events of one body. Raises IngestError for a body that can't be read."""
        # Much of what a stranger sends may be slow to refuse: nobody else is to wait for that.
        if len(body) < columnar.BYTES_MIN:
            return form.alone(body, self._events_max)
        return await self._in_thread(_parse_large, form, body, self._events_max)

    async def parse_group(self, form: Form, bodies: Sequence[bytes]) -> Group:
        """The events of many small bodies."""
        if form.together is None or sum(map(len, bodies)) < columnar.BYTES_MIN:
            return parse_each(form, bodies, self._events_max)
        return await self._in_thread(_parse_together, form, bodies, self._events_max)

    async def unpack(self, body: bytes, encoding: str) -> bytes:
        """The text of a body: without its Content-Encoding and its byte order mark.

        Raises IngestError, see `encoding.decompress`.
        """
        if encoding:
            body = await self._decompress(body, encoding)
            inner = looks_compressed(body)
            if inner is not None:
                raise PayloadError(f"Body is compressed twice: below its {encoding} it is {inner}")
        return body.removeprefix(BYTE_ORDER_MARK)

    async def _decompress(self, body: bytes, encoding: str) -> bytes:
        if len(body) < QUICK_BYTES_MAX:
            with suppress(TooLargeError):  # which it may only be for now
                return decompress(body, encoding, min(QUICK_BYTES_MAX, self._bytes_max))
        return await self._in_thread(decompress, body, encoding, self._bytes_max)

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)


def _parse_large(form: Form, body: bytes, events_max: int) -> Batch:
    counted = form.together([body]) if form.together else None
    if counted is None:
        return form.alone(body, events_max)
    batch, _ = counted
    _check_count(batch.size, events_max)
    return batch


def _parse_together(form: Form, bodies: Sequence[bytes], events_max: int) -> Group:
    counted = form.together(bodies) if form.together else None
    if counted is not None:
        batch, counts = counted
        if max(counts) <= events_max:
            return Group(batch, counts, {})
    return parse_each(form, bodies, events_max)


def parse_each(form: Form, bodies: Sequence[bytes], events_max: int) -> Group:
    """The events of many bodies, one after the other, each of which has at most so many."""
    events: list[bytes] = []
    ids: list[str | None] = []
    names: list[str] = []
    raw: list[Any] = []
    times_us: list[int | None] = []
    counts: list[int] = []
    errors: dict[int, IngestError] = {}
    size = 0
    for index, body in enumerate(bodies):
        try:
            one = form.alone(body, events_max)
        except IngestError as error:
            errors[index] = error
            counts.append(0)
            continue
        size += one.size
        if one.rejected:
            errors[index] = RejectedError(list(one.rejected), one.size - len(one.events))
            counts.append(0)
            continue
        events += one.events
        ids += one.client_ids
        names += one.names
        raw += one.raw
        times_us += one.times_us
        counts.append(one.size)
    batch = Batch(events, ids, names, raw, times_us, range(len(events)), (), size)
    return Group(batch, counts, errors)


def _check_count(events: int, events_max: int) -> None:
    if events > events_max:
        raise TooLargeError(f"A request may carry at most {events_max} events, not {events}")


def _event(body: bytes, events_max: int) -> Batch:
    batch = typed.parse_event(body)
    if batch is None:
        decoded = decode(body)
        batch = validate(Decoded([decoded.value], decoded.flawed))
    return batch


def _list(body: bytes, events_max: int) -> Batch:
    batch = typed.parse_list(body)
    if batch is None:
        decoded = decode(body)
        events = events_of(decoded.value)
        _check_count(len(events), events_max)
        batch = validate(Decoded(events, decoded.flawed))
    _check_count(batch.size, events_max)
    return batch


def _lines(body: bytes, events_max: int) -> Batch:
    return validate(decode_lines(body, events_max))


EVENT = Form(_event)
"""One event in a body. PERF: there are seldom so many at a time that columns would pay."""
LIST = Form(_list, columnar.parse_lists)
"""`{"events": [...]}`, or the list alone."""
LINES = Form(_lines, columnar.parse_lines)
"""NDJSON: one event a line."""


def one_form(media_type: str) -> Form:
    """Of a body with one event. Raises MediaTypeError."""
    if media_type not in JSON_TYPES:
        raise MediaTypeError(f"Content-Type must be {JSON_TYPES[0]}")
    return EVENT


def many_form(media_type: str) -> Form:
    """Of a body with many events. Raises MediaTypeError."""
    if media_type in NDJSON_TYPES:
        return LINES
    if media_type not in JSON_TYPES:
        raise MediaTypeError(f"Content-Type must be {JSON_TYPES[0]} or {NDJSON_TYPE}")
    return LIST
