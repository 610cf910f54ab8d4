"""Bodies as Arrow IPC streams, with the same events as the bodies of JSON.

A client with columns, such as a data frame, sends its events like this. It needs no JSON.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.json

from bench.clients.pool import EventPool

ARROW_TYPE = "application/vnd.apache.arrow.stream"


def _texts(*names: str) -> list[pa.Field]:
    return [pa.field(name, pa.string()) for name in names]


_PARAMS = pa.list_(
    pa.struct(
        [
            *_texts("key", "string_value"),
            pa.field("number_value", pa.float64()),
            pa.field("boolean_value", pa.bool_()),
        ]
    )
)
_DEVICE = _texts(
    "category", "mobile_brand_name", "mobile_model_name", "operating_system",
    "operating_system_version", "language", "browser_name", "browser_version", "hostname",
)  # fmt: skip
_ITEM = [
    *_texts("id", "name", "brand"),
    pa.field("price_in_usd", pa.float64()),
    pa.field("revenue_in_usd", pa.float64()),
    pa.field("quantity", pa.int64()),
]
SCHEMA = pa.schema(
    [
        *_texts("id", "name", "channel_type"),
        pa.field("timestamp", pa.int64()),
        pa.field("previous_timestamp", pa.int64()),
        *_texts("user_id", "user_pseudo_id"),
        pa.field("event_params", _PARAMS),
        pa.field("user_params", _PARAMS),
        pa.field("device", pa.struct(_DEVICE)),
        pa.field("app_info", pa.struct(_texts("id", "version"))),
        pa.field("geo", pa.struct(_texts("continent", "country", "region", "city"))),
        pa.field("items", pa.list_(pa.struct(_ITEM))),
    ]
)
"""The fields of the events that `bench.clients.generate` makes."""


def to_batch(texts: Sequence[bytes]) -> pa.RecordBatch:
    """Return events, which are JSON texts, as one record batch of `SCHEMA`.

    Raises:
        pa.ArrowInvalid: an event has a field that is not in the schema.
    """
    lines = b"\n".join(texts)
    one_block = pyarrow.json.ReadOptions(use_threads=False, block_size=len(lines) + 1)
    options = pyarrow.json.ParseOptions(SCHEMA, unexpected_field_behavior="error")
    table = pyarrow.json.read_json(pa.BufferReader(lines), one_block, options)
    [batch] = table.to_batches()
    return batch


def to_stream(batch: pa.RecordBatch, compression: str | None = None) -> bytes:
    """Return an IPC stream with one record batch.

    Args:
        batch: the events.
        compression: compression of the buffers inside the stream: lz4, zstd, or None.
    """
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    body: bytes = sink.getvalue().to_pybytes()
    return body


class ArrowPool:
    """An endless supply of new events in record batches. A batch costs less than one of JSON."""

    def __init__(self, pool: EventPool, batch_events: int) -> None:
        """Make the contents of every batch.

        Args:
            pool: where the contents and the ids come from.
            batch_events: number of events in a batch.
        """
        self._pool = pool
        self._contents = to_batch(pool.take(batch_events))

    def take(self) -> pa.RecordBatch:
        """Return a batch of new events, which differs from the others only in its ids."""
        ids = pa.array(self._pool.take_ids(self._contents.num_rows), pa.string())
        at = self._contents.schema.get_field_index("id")
        return self._contents.set_column(at, "id", ids)
