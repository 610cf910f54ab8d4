"""A retry is the same event, whenever it arrives."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from ingest.decode import Decoded
from ingest.identity import identify
from ingest.validate import validate
from tests.property.strategies import EVENTS

RECEIVED_US = st.integers(1_600_000_000_000_000, 1_900_000_000_000_000)


@given(st.lists(EVENTS, min_size=1, max_size=4), st.none() | st.text(min_size=1), RECEIVED_US,
       RECEIVED_US)  # fmt: skip
def test_an_identity_does_not_depend_on_the_arrival(
    events: list, key: str | None, first_us: int, again_us: int
) -> None:
    batch = validate(Decoded(events, False))
    first = identify(batch, idempotency_key=key, received_us=first_us)
    again = identify(batch, idempotency_key=key, received_us=again_us)
    for position, (event, time_us) in enumerate(zip(events, batch.times_us, strict=True)):
        if key is None and time_us is None and event.get("id") is None:
            assert first.ids[position] != again.ids[position]
            continue
        assert first.ids[position] == again.ids[position]
        assert first.key_times_us[position] == again.key_times_us[position]
        if time_us is not None:
            assert first.event_times_us[position] == time_us


@given(EVENTS, RECEIVED_US, st.randoms())
def test_the_order_of_keys_makes_no_other_event(event: dict, received_us: int, random) -> None:
    event = {**event, "timestamp": 1_705_312_800, "id": None}
    keys = list(event)
    random.shuffle(keys)
    shuffled = orjson.loads(orjson.dumps({key: event[key] for key in keys}))
    [one], [other] = (
        identify(validate(Decoded([e], False)), idempotency_key=None, received_us=received_us).ids
        for e in (event, shuffled)
    )
    assert one == other
