"""Requests with batches of events, in each format that the service accepts them in."""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import islice

from bench.clients.arrow import ARROW_TYPE, to_batch, to_stream
from bench.clients.http import batch_body, post

PATH = "/events/batch"


class BatchFormat(StrEnum):
    """The format of a batch."""

    JSON = "json"
    ARROW = "arrow"
    """An Arrow IPC stream, not compressed."""
    ARROW_LZ4 = "arrow-lz4"
    """An Arrow IPC stream whose buffers are compressed with LZ4."""
    ARROW_ZSTD = "arrow-zstd"
    """An Arrow IPC stream whose buffers are compressed with Zstandard."""


def batch_request(
    texts: Sequence[bytes], *, host: str, batch_format: BatchFormat = BatchFormat.JSON
) -> bytes:
    """Return a complete HTTP request with events.

    Args:
        texts: the events as JSON texts.
        host: host of the service.
        batch_format: format of the body.
    """
    if batch_format is BatchFormat.JSON:
        return post(PATH, batch_body(texts), host=host)
    compression = batch_format.partition("-")[2] or None
    body = to_stream(to_batch(texts), compression)
    return post(PATH, body, host=host, content_type=ARROW_TYPE)


def batch_requests(
    texts: Iterable[bytes],
    size: int,
    *,
    host: str,
    batch_format: BatchFormat = BatchFormat.JSON,
) -> Iterator[bytes]:
    """Yield complete HTTP requests with `size` events each; see `batch_request`."""
    rest = iter(texts)
    while batch := list(islice(rest, size)):
        yield batch_request(batch, host=host, batch_format=batch_format)
