"""Parse an Arrow IPC stream into a batch of valid events.

The stream is checked before it is read, and fully validated before it is used, because Arrow trusts
offsets and indexes otherwise. Then the events go one of two ways, like those in JSON: columns that
are plainly valid become a batch at once, and `validation` decides about all others.

PERF: an event of 800 bytes as JSON takes 1.5 µs without the GIL; JSON takes 7.5 µs.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc

from ingest.errors import IngestError, PayloadError
from ingest.event.arrow import BODY_TYPE
from ingest.parsing.arrow_batch import arrow_batch
from ingest.parsing.arrow_stream.casts import typed_columns
from ingest.parsing.arrow_stream.columns import Budget, plain_columns
from ingest.parsing.arrow_stream.messages import check_stream
from ingest.parsing.arrow_stream.references import referred_bytes
from ingest.parsing.arrow_stream.rows import events_as_sent
from ingest.parsing.batch import Batch
from ingest.parsing.strict_json import Decoded
from ingest.parsing.validation import validate

_MESSAGE_CHARACTERS_MAX = 200
_KEPT_SHARE_MAX = 1.5
"""How much larger than its events a stream may be that is kept with them, instead of a copy."""
_READS_MAX = 16
"""How often the bytes of a stream may be read. PERF: Arrow validates 1 GiB of texts in 1.3 s."""
_OTHER_FORMATS = {
    b"ARROW1": "an Arrow file, not a stream: write it with pyarrow.ipc.new_stream",
    b"PAR1": "a Parquet file: `event-stream load` sends it",
}
"""The first bytes of what is sent instead of a stream."""


def parse_stream(body: bytes, *, bytes_max: int, events_max: int) -> Batch:
    """Parse an Arrow IPC stream. May run in any thread.

    Args:
        body: the stream, without a Content-Encoding.
        bytes_max: maximum bytes of its buffers when they are decompressed, and of its columns when
            they are decoded.
        events_max: maximum number of events.

    Raises:
        PayloadError: the body is not a valid stream, or a column has the wrong type.
        TooLargeError: it has too many events or bytes.
    """
    for start, name in _OTHER_FORMATS.items():
        if body.startswith(start):
            raise PayloadError(f"Body is {name}")
    with _readable():
        stream = pa.py_buffer(body)
        check_stream(stream, bytes_max=bytes_max, rows_max=events_max)
        budget = Budget(bytes_max)
        parts = [plain_columns(batch, budget) for batch in _read(stream, bytes_max)]
    if not parts:
        return validate(Decoded([], flawed=False))
    batch = _in_columns(parts, stream.size)
    if batch is None:
        events = [event for part in parts for event in events_as_sent(part)]
        batch = validate(Decoded(events, flawed=True))
    return batch


def _read(stream: pa.Buffer, bytes_max: int) -> Iterator[pa.RecordBatch]:
    """Yield the record batches, with known columns only, fully validated."""
    schema = pa.ipc.open_stream(stream).schema
    known = [
        index for index, name in enumerate(schema.names) if BODY_TYPE.get_field_index(name) >= 0
    ]
    if not known:
        raise PayloadError(
            "The stream has no column of an event; GET /events/schema returns the columns"
        )
    options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=known)
    budget = Budget(bytes_max * _READS_MAX, "The views and dictionaries")
    for batch in pa.ipc.open_stream(stream, options=options):
        batch.validate()
        budget.take(sum(map(referred_bytes, batch.columns)))
        batch.validate(full=True)
        if batch.num_rows:
            yield batch


def _in_columns(parts: list[pa.StructArray], stream_bytes: int) -> Batch | None:
    """Return the batch of events that are plainly valid; None if one is not."""
    try:
        typed = [typed_columns(part) for part in parts]
    except pa.ArrowInvalid:
        return None
    events = typed[0]
    if len(typed) > 1 or stream_bytes > _KEPT_SHARE_MAX * events.get_total_buffer_size():
        # A copy, because the buffer in memory would keep the whole stream, unknown columns too.
        events = pa.concat_arrays([*typed, events.slice(0, 0)])
    if _has_nul(events):
        return None
    return arrow_batch(events, lambda: [e for part in parts for e in events_as_sent(part)])


def _has_nul(array: pa.Array) -> bool:
    """Return whether a text in an array may have a NUL character, which JSON texts can't have."""
    if pa.types.is_struct(array.type):
        return any(_has_nul(array.field(i)) for i in range(array.type.num_fields))
    if pa.types.is_list(array.type):
        return _has_nul(array.values)
    if array.type != pa.string():
        return False
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return False
    ends = pa.Array.from_buffers(pa.int32(), len(array) + 1, [None, offsets], offset=array.offset)
    start, end = ends[0].as_py(), ends[-1].as_py()
    # PERF: to search in `bytes` means to copy them; this also does not hold the GIL.
    text = pa.Array.from_buffers(pa.uint8(), end - start, [None, data], offset=start)
    return bool(pc.min(text).as_py() == 0)


@contextmanager
def _readable() -> Iterator[None]:
    """Turn Arrow's errors into PayloadError."""
    try:
        yield
    except IngestError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        [message] = str(error).splitlines()[:1] or [type(error).__name__]
        raise PayloadError(
            f"Body is not a valid Arrow IPC stream: {message[:_MESSAGE_CHARACTERS_MAX]}"
        ) from error
