"""The identity of an event: its name, id and own time. A retry has the same identity.

The id of an event is the first of these that exists:
1. the `id` that the client sent,
2. a hash of the request's `Idempotency-Key` and the event's index in the request,
3. a 128-bit hash of the content, if the event states its time,
4. a random UUIDv7.

An id is opaque: no time is read from it.

The own time is the `key_time`: the time that the event states, or else a constant. So it does not
depend on when the event arrives. Case 4 is the exception: its `key_time` is the receive time, which
does no harm because a random id is never repeated.

The dedup window, the sort key of the table and the rollups all use name, id and `key_time`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec
import orjson
import pyarrow as pa
import uuid_utils

from ingest.parsing.batch import Batch
from storage.tables.schema import KEY_TIME_UNKNOWN_US


@dataclass(slots=True)  # PERF: frozen costs 0.2 µs for each field
class Identities:
    """The identities of the events of a batch. Each list has one entry per event, in order.

    Attributes:
        ids: ids, made up where the client sent none.
        event_times_us: the times that the events state, or else the receive time, in µs since 1970.
        key_times_us: own times, in µs since 1970.
        keys: dedup keys. Two events have the same key only if they have the same identity.
    """

    ids: Sequence[str]
    event_times_us: Sequence[int]
    key_times_us: Sequence[int]
    keys: Sequence[str]


def identify(
    batch: Batch, *, idempotency_keys: Sequence[str | None] | None, received_us: int
) -> Identities:
    """Return the identity of every event of `batch`.

    Args:
        batch: valid events.
        idempotency_keys: the Idempotency-Key of each event's request; None if no request has one.
        received_us: when the events were received, in µs since 1970.
    """
    times_us = batch.times_us
    client_ids = batch.client_ids
    if None not in client_ids and None not in times_us:  # PERF: the common case of our clients
        keys = _keys(client_ids, batch.names, times_us)  # type: ignore[arg-type]
        return Identities(client_ids, times_us, times_us, keys)  # type: ignore[arg-type]
    if idempotency_keys is None:
        idempotency_keys = [None] * len(client_ids)
    ids, event_times_us, key_times_us = [], [], []
    for client_id, idempotency_key, raw, time_us, index in zip(
        client_ids, idempotency_keys, batch.raw, times_us, batch.indexes, strict=True
    ):
        key_time_us: int | None
        if client_id is not None:
            event_id, key_time_us = client_id, time_us
        elif idempotency_key is not None:
            event_id, key_time_us = _keyed_id(idempotency_key, index), time_us
        elif time_us is not None:
            event_id, key_time_us = _content_id(raw), time_us
        else:
            event_id, key_time_us = str(uuid_utils.uuid7()), received_us
        ids.append(event_id)
        event_times_us.append(received_us if time_us is None else time_us)
        key_times_us.append(KEY_TIME_UNKNOWN_US if key_time_us is None else key_time_us)
    return Identities(ids, event_times_us, key_times_us, _keys(ids, batch.names, key_times_us))


def keys_of(batch: pa.RecordBatch) -> list[str]:
    """Return the dedup keys of a record batch, as `identify` made them.

    Args:
        batch: of RECORD_SCHEMA or TEXT_SCHEMA.
    """
    if "text" in batch.schema.names:
        names: Iterable[str] = (_Name.decode(text.as_py()).name for text in batch.column("text"))
    else:
        names = batch.column("event").field("name").to_pylist()
    key_times_us = batch.column("key_time").cast(pa.int64()).to_pylist()
    return _keys(batch.column("id").to_pylist(), names, key_times_us)


class _Named(msgspec.Struct):
    name: str


_Name = msgspec.json.Decoder(_Named)


def _keys(ids: Iterable[str], names: Iterable[str], key_times_us: Iterable[int]) -> list[str]:
    # Ids and names contain no NUL, so different events have different keys.
    return [
        f"{event_id}\0{name}\0{key_time_us}"
        for event_id, name, key_time_us in zip(ids, names, key_times_us, strict=True)
    ]


def _content_id(raw: Any) -> str:
    # Sorted, so that the order of the keys in the JSON does not matter.
    return blake2b(orjson.dumps(raw, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()


def _keyed_id(idempotency_key: str, index: int) -> str:
    # Hashed, so that a key and an index together can't equal an id that a client sent.
    return blake2b(f"{idempotency_key}\0{index}".encode(), digest_size=16).hexdigest()
