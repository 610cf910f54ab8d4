"""Decoding and validation: nothing crashes, nothing is coerced, and both paths agree."""

import json

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.errors import IngestError, PayloadError, TooLargeError
from ingest.event.arrow import RECORD_SCHEMA, TEXT_SCHEMA
from ingest.event.text import read_texts, to_structs
from ingest.parsing.arrow_parser import parse_lines, parse_lists
from ingest.parsing.batch import Batch, events_of
from ingest.parsing.formats import JSON_FORMATS, BodyFormat
from ingest.parsing.msgspec_parser import parse_list
from ingest.parsing.parser import parse_as_columns, parse_each
from ingest.parsing.strict_json import Decoded, decode, decode_lines
from ingest.parsing.validation import validate
from tests.property.strategies import EVENTS, JSON, SAME_UNKNOWN, spoiled_events, with_unknown

EVENT, BATCH, NDJSON = JSON_FORMATS

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
    assert list(fast.names) == list(slow.names)
    assert list(fast.times_us) == list(slow.times_us)
    expected = structs(slow)
    assert structs(fast).equals(expected) or structs(fast).to_pylist() == expected.to_pylist()
    for event_id, fast_raw, slow_raw in zip(fast.client_ids, fast.raw, slow.raw, strict=True):
        assert event_id is not None or fast_raw == slow_raw


def parse_columns(body: bytes) -> Batch | None:
    counted = parse_lists([body])
    return None if counted is None else counted[0]


FAST = (parse_columns, parse_list)
"""Each of them may decline a body, and must never take one that the slow path refuses."""


@given(st.lists(EVENTS, min_size=1, max_size=5))
def test_valid_events_pass_both_paths_with_the_same_result(events: list) -> None:
    body = to_json({"events": events})
    slow = parse_slowly(body)
    for parse in FAST:
        fast = parse(body)
        assert fast is not None
        assert_same(fast, slow)
    objects = list(map(to_json, events))
    counted = parse_lines([b"\n".join(objects)])
    assert counted is not None
    assert_same(counted[0], slow)


@given(st.lists(with_unknown(EVENTS, SAME_UNKNOWN), min_size=1, max_size=5))
def test_events_with_the_same_unknown_fields_take_the_fast_path_too(events: list) -> None:
    slow = parse_slowly(to_json(events))
    lines = b"\n".join(map(to_json, events))
    for counted in (parse_lists([to_json(events)]), parse_lines([lines])):
        assert counted is not None
        assert_same(counted[0], slow)


# As Python writes them, and Arrow's reader takes them, though they are no JSON.
NO_JSON = st.builds(
    lambda event, number: {**event, "items": [{"price_in_usd": number}]},
    EVENTS,
    st.sampled_from([float("nan"), float("inf"), float("-inf")]),
)


@given(
    st.lists(
        with_unknown(EVENTS) | EVENTS | spoiled_events() | JSON | NO_JSON, min_size=1, max_size=3
    )
)
@example([{"name": "a", "channel_type": "web", "other": float("nan")}])
@example([{"name": "a", "channel_type": "web", "other": [{"a": [1.5, float("inf")]}]}])
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


@given(with_unknown(EVENTS) | EVENTS, st.data())
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


EVENTS_MAX = 3
FORMS = st.sampled_from([EVENT, BATCH, NDJSON])
VALUES = st.lists(EVENTS | spoiled_events() | JSON, max_size=EVENTS_MAX + 1)


def to_body(kind: BodyFormat, values: list) -> bytes:
    if kind is EVENT:
        return to_json(values[0] if values else None)
    if kind is NDJSON:
        return b"\n".join(map(to_json, values))
    return to_json(values if len(values) % 2 else {"events": values})


def parse_alone(kind: BodyFormat, body: bytes) -> Batch | IngestError:
    """As it must be, without any fast path."""
    try:
        if kind is NDJSON:
            decoded = decode_lines(body, EVENTS_MAX)
        else:
            decoded = decode(body)
            decoded.value = [decoded.value] if kind is EVENT else events_of(decoded.value)
    except IngestError as error:
        return error
    if len(decoded.value) > EVENTS_MAX:
        return TooLargeError(
            f"A request may carry at most {EVENTS_MAX} events, not {len(decoded.value)}"
        )
    return validate(decoded)


@given(FORMS, st.data())
def test_bodies_parsed_together_are_as_each_alone(kind: BodyFormat, data: st.DataObject) -> None:
    bodies = data.draw(
        st.lists(VALUES.map(lambda values: to_body(kind, values)) | st.binary(max_size=9))
    )
    group = parse_each(kind, bodies, EVENTS_MAX)
    start = 0
    for index, alone in enumerate(parse_alone(kind, body) for body in bodies):
        end = start + group.counts[index]
        if isinstance(alone, IngestError):
            found = group.unreadable[index]
            assert (type(found), str(found)) == (type(alone), str(alone))
            assert start == end
            continue
        if alone.rejected:
            found = group.invalid[index]
            assert (found.size, found.rejected) == (alone.size, alone.rejected)
            assert start == end
            continue
        assert index not in group.unreadable
        assert index not in group.invalid
        batch = group.batch
        assert_same(
            Batch(
                batch.events[start:end],
                batch.client_ids[start:end],
                batch.names[start:end],
                batch.raw[start:end],
                batch.times_us[start:end],
                range(end - start),
                (),
                end - start,
            ),
            alone,
        )
        start = end
    assert group.batch.size == sum(group.counts)
    assert len(group.batch.events) == start


@given(st.sampled_from([BATCH, NDJSON]), st.data())
def test_what_is_taken_together_could_be_taken_one_by_one(
    kind: BodyFormat, data: st.DataObject
) -> None:
    events = st.lists(with_unknown(EVENTS) | EVENTS, min_size=1, max_size=2)
    values = data.draw(st.lists(events, min_size=1, max_size=3))
    bodies = [to_body(kind, each) for each in values]
    # Bodies that are broken up, run together, or both, so that the sum looks right.
    for _ in range(data.draw(st.integers(0, 3))):
        joined = b"\0".join(bodies)
        marks = [at for at, byte in enumerate(joined) if byte in b"\0\n,{}[]:"]
        at = data.draw(st.sampled_from(marks)) if marks else 0
        keeps = joined[at : at + 1].strip(b"\0\n")
        piece = data.draw(st.sampled_from([b"\0", b"\n", b"", b" ", b",", b"\r\n", b"{", b"]}"]))
        bodies = (joined[:at] + keeps + piece + joined[at + 1 :]).split(b"\0")
    assert_taken_as_one_by_one(kind, bodies)


A = b'{"name":"a","channel_type":"web"}'
HALF, REST = b'{"name":"a",', b'"channel_type":"web"}'


@pytest.mark.parametrize(
    ("kind", "bodies"),
    [
        (NDJSON, [HALF + b"\n" + REST + b"\n" + A + A]),
        (NDJSON, [HALF, REST + b"\n" + A + A]),
        (NDJSON, [A + A + b"\n", b"\n"]),
        (NDJSON, [A + b"," + A]),
        (BATCH, [b"[" + A + b"]}" + b'{"events":[' + A + b"]", b" "]),
        (BATCH, [b"[" + A, A + b"]", b"[" + A + b"],[" + A + b"]"]),
        (BATCH, [b'{"events":[' + A + b']}{"events":[]}', b""]),
        (BATCH, [b'{"events":[' + HALF, REST + b"]}", b'{"events":[]}{"events":[]}']),
        (BATCH, [b"[" + A + b'],"events":[' + A + b"]", b"[" + A + b"]"]),
        (BATCH, [b"[" + A + b"]", b"null"]),
        (BATCH, [b"[" + A + b"]", b'{"events":null}']),
        (BATCH, [b"[" + A + b"]", b"{}"]),
        (BATCH, [b"[" + A[:-1] + b',"x":1,"x":2}]']),
        (BATCH, [b"[" + A[:-1] + b',"x":{"y":null,"y":null}}]']),
        (BATCH, [b"[" + A[:-1] + b',"x":NaN}]']),
        (BATCH, [b"[" + A[:-1] + b',"x":[[-Infinity]]}]']),
        (BATCH, [b"[" + A[:-1] + b',"x":%b1%b}]' % (b"[" * 300, b"]" * 300)]),
        (
            BATCH,
            [b"[" + A[:-1] + b',"x":%b}]' % to_json({str(n): 1 for n in range(60)})],
        ),
        (NDJSON, [A[:-1] + b',"x":"\\u0000"}']),
        (NDJSON, [A[:-1] + b',"x":"\xff"}']),
    ],
)
def test_bodies_that_only_look_right_in_sum_are_not_taken_together(
    kind: BodyFormat, bodies: list[bytes]
) -> None:
    assert parse_as_columns(kind, bodies) is None


def assert_taken_as_one_by_one(kind: BodyFormat, bodies: list[bytes]) -> None:
    counted = parse_as_columns(kind, bodies)
    if counted is None:
        return
    group = parse_each(kind, bodies, 100)
    assert not group.unreadable
    assert not group.invalid
    assert list(counted[1]) == list(group.counts)
    assert_same(counted[0], group.batch)


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
