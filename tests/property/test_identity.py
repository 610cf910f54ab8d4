"""A retry has the same identity as the first attempt, whenever it arrives."""

import orjson
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ingest.event.arrow import TEXT_SCHEMA
from ingest.event.text import to_structs
from ingest.parsing.strict_json import Decoded
from ingest.parsing.validation import validate
from ingest.pipeline.identity import identify, keys_of
from tests.property.strategies import EVENTS

RECEIVED_US = st.integers(1_600_000_000_000_000, 1_900_000_000_000_000)


@given(st.lists(EVENTS, min_size=1, max_size=4), st.none() | st.text(min_size=1), RECEIVED_US,
       RECEIVED_US)  # fmt: skip
def test_an_identity_does_not_depend_on_the_arrival(
    events: list, key: str | None, first_us: int, again_us: int
) -> None:
    batch = validate(Decoded(events, False))
    keys = None if key is None else [key] * len(events)
    first = identify(batch, idempotency_keys=keys, received_us=first_us)
    again = identify(batch, idempotency_keys=keys, received_us=again_us)
    for position, (event, time_us) in enumerate(zip(events, batch.times_us, strict=True)):
        if key is None and time_us is None and event.get("id") is None:
            assert first.ids[position] != again.ids[position]
            continue
        assert first.ids[position] == again.ids[position]
        assert first.key_times_us[position] == again.key_times_us[position]
        assert first.keys[position] == again.keys[position]
        if time_us is not None:
            assert first.event_times_us[position] == time_us


@given(st.lists(EVENTS, min_size=1, max_size=4), RECEIVED_US)
def test_the_name_the_id_and_the_own_time_tell_events_apart(events: list, received_us: int) -> None:
    batch = validate(Decoded(events, False))
    found = identify(batch, idempotency_keys=None, received_us=received_us)
    parts = []
    for event, event_id, time_us in zip(events, found.ids, batch.times_us, strict=True):
        is_random = time_us is None and event.get("id") is None
        parts.append((event["name"], event_id, received_us if is_random else time_us))
    assert len(set(zip(parts, found.keys, strict=True))) == len(set(parts))
    assert len(set(found.keys)) == len(set(parts))


@given(st.lists(EVENTS, min_size=1, max_size=4), RECEIVED_US)
def test_a_record_batch_has_the_keys_that_its_events_were_given(
    events: list, received_us: int
) -> None:
    batch = validate(Decoded(events, False))
    found = identify(batch, idempotency_keys=None, received_us=received_us)
    columns = (found.ids, found.event_times_us, found.key_times_us, [received_us] * len(events))
    arrays = [
        pa.array(values, field.type)
        for values, field in zip([*columns, batch.events], TEXT_SCHEMA, strict=True)
    ]
    texts = pa.RecordBatch.from_arrays(arrays, schema=TEXT_SCHEMA)
    [structs] = to_structs([texts])
    assert keys_of(texts) == keys_of(structs) == list(found.keys)


@given(EVENTS, RECEIVED_US, st.randoms())
def test_the_order_of_json_keys_does_not_change_the_identity(
    event: dict, received_us: int, random
) -> None:
    event = {**event, "timestamp": 1_705_312_800, "id": None}
    keys = list(event)
    random.shuffle(keys)
    shuffled = orjson.loads(orjson.dumps({key: event[key] for key in keys}))
    [one], [other] = (
        identify(validate(Decoded([e], False)), idempotency_keys=None, received_us=received_us).ids
        for e in (event, shuffled)
    )
    assert one == other
