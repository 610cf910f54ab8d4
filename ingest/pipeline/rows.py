"""Makes record batches from new events and their identities.

The events of small requests stay plain lists. The WAL writer makes one record batch of many.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import pyarrow as pa

from ingest.event.arrow import RECORD_SCHEMA, TEXT_SCHEMA, TIME
from ingest.pipeline.identity import Identities

T = TypeVar("T")

_ROW_BYTES = 64
"""About the size of the id and the times of a row in Arrow."""


@dataclass(slots=True)
class TextRows:
    """Events as compact JSON, with their identities.

    PERF: making a record batch for every small request would take 90 µs of each.

    Attributes:
        ids: ids of the events, in order.
        times_us: three columns: event times, key times and receive times, in µs since 1970.
        texts: the events as compact JSON, in order.
    """

    ids: Sequence[str]
    times_us: tuple[Sequence[int], ...]
    texts: Sequence[bytes]

    def size_bytes(self) -> int:
        """Return about the size of the rows as a record batch."""
        return sum(map(len, self.texts)) + _ROW_BYTES * len(self.texts)

    def record_batch(self) -> pa.RecordBatch:
        """Return the rows as a record batch of TEXT_SCHEMA."""
        ids, times = pa.array(self.ids, pa.string()), map(_times, self.times_us)
        texts = pa.array(self.texts, pa.binary())
        return pa.RecordBatch.from_arrays([ids, *times, texts], schema=TEXT_SCHEMA)


def joined(several: Iterable[TextRows]) -> TextRows:
    """Return the concatenation of `several`, which must not be empty."""
    first, *others = several
    if not others:
        return first
    ids, texts = list(first.ids), list(first.texts)
    times_us = tuple(list(times) for times in first.times_us)
    for rows in others:
        ids += rows.ids
        texts += rows.texts
        for all_us, us in zip(times_us, rows.times_us, strict=True):
            all_us += us
    return TextRows(ids, times_us, texts)


NewRows: TypeAlias = "TextRows | pa.RecordBatch"
"""New events: texts of a small request, or a record batch of RECORD_SCHEMA of a large one."""


def new_rows(
    events: Sequence[bytes] | pa.StructArray,
    identities: Identities,
    positions: Sequence[int],
    received_us: int,
) -> NewRows:
    """Return the new events with their identities.

    Args:
        events: the events of a batch.
        identities: their identities.
        positions: positions of the new events, in order.
        received_us: when the batch was received, in µs since 1970.
    """
    ids = picked(identities.ids, positions)
    times_us = (
        picked(identities.event_times_us, positions),
        picked(identities.key_times_us, positions),
        [received_us] * len(positions),
    )
    if not isinstance(events, pa.StructArray):
        return TextRows(ids, times_us, picked(events, positions))
    if len(positions) < len(events):
        events = events.take(pa.array(positions))
    columns = [pa.array(ids, pa.string()), *map(_times, times_us), events]
    batch: pa.RecordBatch = pa.RecordBatch.from_arrays(columns, schema=RECORD_SCHEMA)
    return batch


def record_batch(rows: NewRows) -> pa.RecordBatch:
    """Return the rows as one record batch, of RECORD_SCHEMA or TEXT_SCHEMA."""
    if isinstance(rows, TextRows):
        return rows.record_batch()
    return rows


def picked(values: Sequence[T], positions: Sequence[int]) -> Sequence[T]:
    """Return the values at `positions`, which are in order and without repetition."""
    if len(positions) == len(values):  # PERF: the common case, without a loop
        return values
    return [values[position] for position in positions]


def _times(times_us: Sequence[int]) -> pa.Array:
    # PERF: takes half the time of pa.array if there are few values.
    data = pa.py_buffer(array("q", times_us))
    return pa.Array.from_buffers(TIME, len(times_us), [None, data])
