"""Decoding and validation: nothing crashes, nothing is coerced, and both paths agree."""

import json

import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from ingest import typed
from ingest.columnar import parse_lines, parse_list
from ingest.columns import RECORD_SCHEMA, TEXT_SCHEMA
from ingest.decode import Decoded, decode, decode_lines
from ingest.errors import PayloadError
from ingest.parse import parse_each
from ingest.texts import read_texts, to_structs
from ingest.validate import Batch, events_of, validate
from tests.property.strategies import EVENTS, JSON, spoiled_events

PIECES = [b",", b"}", b"]", b'"', b"\\", b"\\ud800", b"1e999", b"\x00", b"\xff"]


def to_json(value: object) -> bytes:
    """Unlike orjson's, with integers of any size."""
    return json.dumps(value, ensure_ascii=False).encode()


def parse_slowly(body: bytes) -> Batch:
    decoded = decode(body)
    return validate(Decoded(events_of(decoded.value), decoded.flawed))


def structs(batch: Batch) -> pa.StructArray:
    if isinstance(batch.events, pa.StructArray):
        return batch.events
    return read_texts(pa.array(batch.events, pa.binary()))


def assert_same(fast: Batch, slow: Batch) -> None:
    assert not slow.rejected
    assert fast.size == slow.size
    assert list(fast.client_ids) == list(slow.client_ids)
    assert list(fast.times_us) == list(slow.times_us)
    expected = structs(slow)
    assert structs(fast).equals(expected) or structs(fast).to_pylist() == expected.to_pylist()
    for event_id, fast_raw, slow_raw in zip(fast.client_ids, fast.raw, slow.raw, strict=True):
        assert event_id is not None or fast_raw == slow_raw


FAST = (parse_list, typed.parse_list)
"""Each of them may decline a body, and must never take one that the slow path refuses."""


@given(st.lists(EVENTS, min_size=1, max_size=5))
def test_valid_events_pass_both_paths_with_the_same_result(events: list) -> None:
    body = to_json({"events": events})
    slow = parse_slowly(body)
    for parse in FAST:
        fast = parse(body)
        assert fast is not None
        assert_same(fast, slow)
    lines = parse_lines(b"\n".join(map(to_json, events)))
    assert lines is not None
    assert_same(lines, slow)


# As Python writes them, and Arrow's reader takes them, though they are no JSON.
NO_JSON = st.builds(
    lambda event, number: {**event, "items": [{"price_in_usd": number}]},
    EVENTS,
    st.sampled_from([float("nan"), float("inf"), float("-inf")]),
)


@given(st.lists(EVENTS | spoiled_events() | JSON | NO_JSON, min_size=1, max_size=3))
@example([{"name": "a", "channel_type": "web", "event_params": [None]}])
@example([{"name": "a", "channel_type": "web", "items": [{"price_in_usd": float("nan")}]}])
@example([{"name": "a", "channel_type": "web", "items": [{"price_in_usd": float("-inf")}]}])
@example([{"name": "a", "channel_type": "web", "items": [None]}])
@example([{"name": "a", "channel_type": "web", "timestamp": 1.0}])
@example([{"name": "a", "channel_type": "web", "timestamp": 10_413_792_000}])
def test_the_fast_path_accepts_nothing_that_the_slow_one_refuses(events: list) -> None:
    body = to_json(events)
    for parse in FAST:
        fast = parse(body)
        if fast is not None:
            assert_same(fast, parse_slowly(body))


@given(EVENTS, st.data())
def test_the_fast_path_accepts_no_body_that_is_not_json(event: dict, data: st.DataObject) -> None:
    body = bytearray(to_json({"events": [event]}))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        piece = data.draw(
            st.binary(max_size=2)
            | st.sampled_from(
                [b",", b"}", b"]", b'"', b"\\", b"\\ud800", b"1e999", b"\x00", b"\xff"]
            )
        )
        body[at : at + data.draw(st.integers(0, 2))] = piece
    for parse in FAST:
        fast = parse(bytes(body))
        if fast is not None:
            assert_same(fast, parse_slowly(bytes(body)))


@given(st.lists(EVENTS.map(to_json), min_size=1, max_size=3), st.data())
@example([b'{"name":"a","channel_type":"web"}'] * 3, None)
def test_the_fast_path_takes_lines_only_with_one_event_each(
    events: list[bytes], data: st.DataObject | None
) -> None:
    body = b"\n".join(events)
    if data is None:  # as many events as lines, but not one in each
        first, second, third = events
        body = first.replace(b",", b",\n") + b"\n" + second + third
    else:
        for _ in range(data.draw(st.integers(1, 3))):
            ends = [at for at, byte in enumerate(body) if byte in b"\n,{}[]:"]
            at = data.draw(st.sampled_from(ends))
            keeps = body[at : at + 1].strip()
            piece = data.draw(st.sampled_from([b"\n", b"", b" ", b",", b"\r\n"]))
            body = body[:at] + keeps + piece + body[at + 1 :]
    fast = parse_lines(body)
    if fast is not None:
        assert_same(fast, validate(decode_lines(body, 100)))


BODIES = (EVENTS | spoiled_events() | JSON).map(to_json) | st.binary(max_size=60)


def parse_alone(body: bytes) -> Batch | PayloadError:
    try:
        decoded = decode(body)
    except PayloadError as error:
        return error
    return validate(Decoded([decoded.value], decoded.flawed))


@given(st.lists(BODIES, max_size=5))
def test_bodies_parsed_together_are_as_each_alone(bodies: list[bytes]) -> None:
    batch, errors = parse_each(bodies)
    assert sorted([*batch.indexes, *errors]) == list(range(len(bodies)))
    assert batch.size == len(bodies) - sum(isinstance(e, PayloadError) for e in errors.values())
    good = iter(range(len(batch.events)))
    for index, alone in enumerate(map(parse_alone, bodies)):
        if isinstance(alone, PayloadError):
            assert str(errors[index]) == str(alone)
        elif alone.rejected:
            assert errors[index].errors == list(alone.rejected)
        else:
            at = next(good)
            assert batch.client_ids[at] == alone.client_ids[0]
            assert batch.times_us[at] == alone.times_us[0]
            assert structs(alone).equals(read_texts(pa.array([batch.events[at]], pa.binary())))
            assert batch.client_ids[at] is not None or batch.raw[at] == alone.raw[0]


@given(st.lists(st.lists(EVENTS, min_size=1, max_size=3), max_size=4), st.data())
def test_texts_become_structs_in_their_place(groups: list, data: st.DataObject) -> None:
    batches, expected = [], []
    for number, group in enumerate(groups):
        batch = parse_slowly(to_json(group))
        kept = [[str(number)] * len(group), *[[number] * len(group)] * 3]
        columns = [pa.array(v, f.type) for v, f in zip(kept, RECORD_SCHEMA, strict=False)]
        texts = pa.array(batch.events, pa.binary())
        struct = pa.record_batch([*columns, read_texts(texts)], schema=RECORD_SCHEMA)
        expected.append(struct)
        text = pa.record_batch([*columns, texts], schema=TEXT_SCHEMA)
        batches.append(text if data.draw(st.booleans()) else struct)
    found = to_structs(batches)
    assert pa.Table.from_batches(found, RECORD_SCHEMA).to_pylist() == (
        pa.Table.from_batches(expected, RECORD_SCHEMA).to_pylist()
    )


def test_a_text_that_arrows_reader_does_not_take_is_read_all_the_same() -> None:
    odd = b'{"name":"a","channel_type":"web","date":"2024-01-15T10:00:00.1234567Z"}'
    events = read_texts(pa.array([odd], pa.binary()))
    assert events.field("date").cast(pa.int64()).to_pylist() == [1_705_312_800_123_457]


@given(st.binary(max_size=60) | JSON.map(to_json))
def test_any_body_is_read_or_refused_as_a_payload(body: bytes) -> None:
    try:
        batch = parse_slowly(body)
    except PayloadError:
        return
    assert len(batch.events) <= batch.size


@given(st.lists(EVENTS | spoiled_events() | JSON, max_size=4))
def test_every_event_is_accepted_or_rejected_with_its_index(events: list) -> None:
    batch = parse_slowly(to_json(events))
    assert sorted([*batch.indexes, *(e.index for e in batch.rejected)]) == list(range(len(events)))
    assert all(error.message for error in batch.rejected)


def present(value: object) -> object:
    """Without what is absent: null and, as in a column, the empty list of an absent one."""
    if isinstance(value, dict):
        return {k: present(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [present(item) for item in value]
    return value


@given(st.lists(EVENTS, min_size=1, max_size=3))
def test_what_is_accepted_reaches_arrow_unchanged(events: list) -> None:
    batch = parse_slowly(to_json(events))
    in_arrow = structs(batch).to_pylist()
    for event, stored in zip(events, in_arrow, strict=True):
        sent = {k: v for k, v in event.items() if k not in ("id", "date")}
        stored.pop("date")
        assert present(stored) == present(sent)
