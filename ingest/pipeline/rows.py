"""From new events and their identities to record batches.

Events of small requests stay plain lists until the WAL writer makes one record batch of many.
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
"""Size of an id and the times of a row in Arrow, about."""


@dataclass(slots=True)
class TextRows:
    """Events as compact JSON, with their identities.

    PERF: a record batch of its own for every small request would take 90 µs of each.

    Attributes:
        ids: of the events, in order.
        times_us: event time, key time and receive time of each event, in µs since 1970.
        texts: the events.
    """

    ids: Sequence[str]
    times_us: tuple[Sequence[int], ...]
    texts: Sequence[bytes]

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.ids)

    def size_bytes(self) -> int:
        """Return about the size that the rows will have in memory."""
        return sum(map(len, self.texts)) + _ROW_BYTES * len(self.texts)

    def record_batch(self) -> pa.RecordBatch:
        """Return the rows as a record batch of TEXT_SCHEMA."""
        ids, times = pa.array(self.ids, pa.string()), map(_times, self.times_us)
        texts = pa.array(self.texts, pa.binary())
        return pa.RecordBatch.from_arrays([ids, *times, texts], schema=TEXT_SCHEMA)


def joined(several: Iterable[TextRows]) -> TextRows:
    """Return the rows of all of `several`, in order."""
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


Rows: TypeAlias = "TextRows | pa.RecordBatch"
"""New events: of a small request, or of a large one as RECORD_SCHEMA has them."""


def new_rows(
    events: Sequence[bytes] | pa.StructArray,
    identities: Identities,
    positions: Sequence[int],
    received_us: int,
) -> Rows:
    """Return the events at `positions` with their identities, in order."""
    ids = _picked(identities.ids, positions)
    times_us = (
        _picked(identities.event_times_us, positions),
        _picked(identities.key_times_us, positions),
        [received_us] * len(positions),
    )
    if not isinstance(events, pa.StructArray):
        return TextRows(ids, times_us, _picked(events, positions))
    if len(positions) < len(events):
        events = events.take(pa.array(positions))
    columns = [pa.array(ids, pa.string()), *map(_times, times_us), events]
    batch: pa.RecordBatch = pa.RecordBatch.from_arrays(columns, schema=RECORD_SCHEMA)
    return batch


def record_batch(rows: Rows) -> pa.RecordBatch:
    """Return the rows as one record batch, of RECORD_SCHEMA or TEXT_SCHEMA."""
    if isinstance(rows, TextRows):
        return rows.record_batch()
    return rows


def _picked(values: Sequence[T], positions: Sequence[int]) -> Sequence[T]:
    if len(positions) == len(values):  # PERF: the common case, without a step for each event
        return values
    return [values[position] for position in positions]


def _times(times_us: Sequence[int]) -> pa.Array:
    """Times in µs since 1970 as a column; PERF: half of what pa.array takes for few."""
    data = pa.py_buffer(array("q", times_us))
    return pa.Array.from_buffers(TIME, len(times_us), [None, data])
