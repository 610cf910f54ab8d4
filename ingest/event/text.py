"""Events as JSON text: their form in the buffer if they came in small requests.

An event that Arrow did not parse is kept as compact JSON in one column (`TEXT_SCHEMA`) until its
flush. Arrow's reader then turns all texts into structs (`RECORD_SCHEMA`) in one pass, without the
GIL.

PERF: the struct of an event has 60 leaves. `pa.array` needs 0.3 ms a record batch and 5 µs an event
for them; with text it needs 0.05 ms and 1 µs. This matters because a single event is a record batch
of its own if no other request comes at that time.
"""

from collections.abc import Sequence

import msgspec
import pyarrow as pa
import pyarrow.json as pj

from ingest.event.arrow import BODY_TYPE, EVENT_TYPE, RECORD_SCHEMA, TEXT_SCHEMA, TIME
from ingest.event.definition import Event

_OPTIONS = pj.ParseOptions(
    explicit_schema=pa.schema(list(BODY_TYPE)),
    newlines_in_values=True,
    unexpected_field_behavior="ignore",
)


def to_structs(batches: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Convert record batches to RECORD_SCHEMA, with the same rows in the same order."""
    is_text = [batch.schema.equals(TEXT_SCHEMA) for batch in batches]
    if not any(is_text):
        return list(batches)
    if all(is_text):  # PERF: one record batch instead of many slices of it
        batches, is_text = [pa.concat_batches(batches)], [True]
    texts = [batch for batch, text in zip(batches, is_text, strict=True) if text]
    events = read_texts(pa.concat_arrays([batch.column("text") for batch in texts]))
    structs, start = [], 0
    for batch, text in zip(batches, is_text, strict=True):
        if text:
            arrays = [*batch.columns[:4], events.slice(start, batch.num_rows)]
            start += batch.num_rows
            batch = pa.RecordBatch.from_arrays(arrays, schema=RECORD_SCHEMA)
        structs.append(batch)
    return structs


def read_texts(texts: pa.BinaryArray) -> pa.StructArray:
    """Convert the compact JSON of valid events to an array of EVENT_TYPE."""
    try:
        events = _read(texts)
    except pa.ArrowException:
        events = None
    if events is None:  # a text that the reader refuses must be stored too
        values = [msgspec.json.decode(text.as_py(), type=Event) for text in texts]
        events = pa.array(values, EVENT_TYPE)
    return events


def _read(texts: pa.BinaryArray) -> pa.StructArray | None:
    joined = pa.py_buffer(b"".join(texts.to_pylist()))
    one_block = pj.ReadOptions(use_threads=False, block_size=joined.size + 1)
    table = pj.read_json(pa.BufferReader(joined), one_block, _OPTIONS)
    if table.num_rows != len(texts):
        return None
    [batch] = table.combine_chunks().to_batches()
    arrays = [batch.column(field.name) for field in EVENT_TYPE]
    date = EVENT_TYPE.get_field_index("date")
    arrays[date] = arrays[date].cast(TIME)
    return pa.StructArray.from_arrays(arrays, fields=list(EVENT_TYPE))
