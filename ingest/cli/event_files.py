"""Read the events of a file, as the bodies of requests. The first bytes tell the format.

The formats are NDJSON and JSON, plain or compressed with gzip or zstd, and those of `arrow_files`.
"""

import gzip
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any, cast

import orjson

from ingest.cli.loader import Body, idempotency_key
from ingest.parsing.formats import NDJSON_TYPE

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

JSON_BATCH_SIZE = 1_000
ARROW_BATCH_SIZE = 10_000
"""PERF: making a body of columns takes 4 µs per event. In batches of 1,000 it takes 12 µs."""

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_PARQUET, _ARROW_FILE, _ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
_PEEK_BYTES = 1 << 20


class SourceError(Exception):
    """The file can't be loaded. The text says why."""


@dataclass(frozen=True, slots=True)
class Source:
    """What there is to load.

    Attributes:
        bodies: in the order of the file.
        batch_size: maximum events of each.
        total: number of events in the file; None if it is not known before the end.
    """

    bodies: Iterator[Body]
    batch_size: int
    total: int | None = None


def open_source(raw: IO[bytes], path: str | None, *, batch_size: int | None, skip: int) -> Source:
    """Detect the format of a file, and prepare its bodies.

    Args:
        raw: the file, at its start.
        path: of the file; None for stdin.
        batch_size: events in a body; None for the default of the format.
        skip: number of events to leave out at the start. A body must begin there.

    Raises:
        SourceError: the file is damaged, or has no events. The bodies raise it, too.
    """
    with _explained():
        lines = _decompressed(raw)
        magic = lines.peek(len(_ARROW_FILE))
    if not magic.startswith((_PARQUET, _ARROW_FILE, _ARROW_STREAM)):
        size = batch_size or JSON_BATCH_SIZE
        return Source(_explaining(_json_bodies(_events(lines), size, skip)), size)

    from ingest.cli import arrow_files

    size = batch_size or ARROW_BATCH_SIZE
    if magic.startswith(_ARROW_STREAM):
        with _explained():
            bodies = arrow_files.stream_bodies(lines, size, skip)
        return Source(_explaining(bodies), size)
    if path is None or not raw.seekable() or cast(object, lines.raw) is not raw:
        raise SourceError(
            "Parquet and Arrow files are read from their end, so they must be plain files, not"
            " compressed and not a pipe. Save the file and give its path, or pipe an Arrow stream"
        )
    is_parquet = magic.startswith(_PARQUET)
    table = arrow_files.open_parquet(path) if is_parquet else arrow_files.open_arrow_file(path)
    return Source(table.bodies(size, skip), size, table.rows)


def _json_bodies(events: Iterator[bytes], size: int, skip: int) -> Iterator[Body]:
    check_skip(skip % size == 0)
    for _ in islice(events, skip):
        pass
    first = skip
    while batch := list(islice(events, size)):
        data = b"\n".join(batch)
        yield Body(data, NDJSON_TYPE, first, len(batch), idempotency_key(first, [data]))
        first += len(batch)


def check_skip(is_boundary: bool) -> None:
    """Check that loading goes on where a body began before.

    Raises:
        SourceError: it does not, so its events without ids would get other ids than before.
    """
    if not is_boundary:
        raise SourceError(
            "No request begins at --skip. Use the number and the --batch-size that the interrupted"
            " load printed, or load the whole file again: no event is counted twice"
        )


@contextmanager
def _explained() -> Iterator[None]:
    """Turn the errors of damaged files into SourceError."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zstd.ZstdError) as error:
        raise SourceError(f"The compressed data is damaged or cut off: {error}") from error
    except orjson.JSONDecodeError as error:
        raise SourceError(
            f"The file is neither NDJSON, JSON, Parquet nor Arrow: {error}"
        ) from error


def _explaining(bodies: Iterator[Body]) -> Iterator[Body]:
    with _explained():
        yield from bodies


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
    """Yield the JSON text of each event, in order."""
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
