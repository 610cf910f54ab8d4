"""Read events from a file: NDJSON or JSON, plain, gzip or zstd, detected by the first bytes."""

import gzip
import io
import sys
from collections.abc import Iterator
from itertools import islice
from typing import IO, Any, cast

import orjson

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_PEEK_BYTES = 1 << 20


class SourceError(Exception):
    """The file can't be loaded. The text says why."""


def read_events(raw: IO[bytes]) -> Iterator[bytes]:
    """Yield the JSON text of each event, in order.

    Raises:
        SourceError: the file is damaged, or is neither NDJSON nor JSON with events.
    """
    try:
        yield from _events(_decompressed(raw))
    except (EOFError, gzip.BadGzipFile, zstd.ZstdError) as error:
        raise SourceError(f"The compressed data is damaged or cut off: {error}") from error
    except orjson.JSONDecodeError as error:
        raise SourceError(f"The file is neither NDJSON nor JSON: {error}") from error


def in_batches(events: Iterator[bytes], size: int) -> Iterator[list[bytes]]:
    """Yield lists of `size` events; the last list may be shorter."""
    while batch := list(islice(events, size)):
        yield batch


def _decompressed(raw: IO[bytes]) -> io.BufferedReader:
    buffered = io.BufferedReader(cast(Any, raw), _PEEK_BYTES)
    magic = buffered.peek(4)[:4]
    inner: Any = buffered
    if magic.startswith(_GZIP):
        inner = gzip.GzipFile(fileobj=buffered)
    elif magic == _ZSTD:
        inner = zstd.ZstdFile(buffered)
    return io.BufferedReader(inner, _PEEK_BYTES) if inner is not buffered else buffered


def _events(lines: io.BufferedReader) -> Iterator[bytes]:
    first = lines.readline()
    while first and not first.strip():
        first = lines.readline()
    if _is_event(first):
        yield first.strip()
        yield from (text for line in lines if (text := line.strip()))
    elif first:
        yield from map(orjson.dumps, _list_of(orjson.loads(first + lines.read())))


def _is_event(line: bytes) -> bool:
    """Return whether a first line is an event, not the beginning of a longer JSON document."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, dict) and not isinstance(value.get("events"), list)


def _list_of(document: Any) -> list[Any]:
    if isinstance(document, dict):
        document = document.get("events", [document])
    if not isinstance(document, list):
        raise SourceError('A JSON file must be an event, a list of events or {"events": [...]}')
    return document
