"""The same events as JSON and as an Arrow stream, in any encoding, give the same batch."""

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.event.text import read_texts
from ingest.parsing.arrow_stream.stream_parser import parse_stream
from ingest.parsing.batch import Batch
from ingest.parsing.strict_json import Decoded, decode
from ingest.parsing.validation import validate
from tests.property.arrow_columns import Columns
from tests.property.arrow_encodings import INT64_MAX, PER_SECOND, YEAR_2300

LIMITS = {"bytes_max": 64 * 1024 * 1024, "events_max": 10_000}


def from_json(events: list[Any]) -> Batch:
    decoded = decode(json.dumps(events, ensure_ascii=False).encode())
    return validate(Decoded(decoded.value, decoded.flawed))


def stream_of(*batches: pa.RecordBatch, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def structs(batch: Batch) -> list[Any]:
    if isinstance(batch.events, pa.StructArray):
        return batch.events.to_pylist()
    return read_texts(pa.array(batch.events, pa.binary())).to_pylist()


def assert_same(found: Batch, expected: Batch) -> None:
    assert [vars_of(error) for error in found.rejected] == [
        vars_of(error) for error in expected.rejected
    ]
    assert found.size == expected.size
    assert list(found.indexes) == list(expected.indexes)
    assert list(found.client_ids) == list(expected.client_ids)
    assert list(found.names) == list(expected.names)
    assert list(found.times_us) == list(expected.times_us)
    assert structs(found) == structs(expected)
    for event_id, one, other in zip(found.client_ids, found.raw, expected.raw, strict=True):
        # 5 and 5.0 are the same here, but not as a text: a column has no way to tell.
        assert event_id is not None or one == other


def vars_of(error: Any) -> tuple[int, str, str]:
    return error.index, error.field, error.message


@st.composite
def same_events(draw: st.DrawFn, *, spoiled: bool) -> tuple[list[Any], bytes]:
    """Events as JSON values, and as a stream."""
    before, rows, after = (draw(st.integers(low, high)) for low, high in ((0, 2), (1, 4), (0, 2)))
    values, array = Columns(draw, spoiled=spoiled).events(before + rows + after)
    whole = pa.RecordBatch.from_struct_array(array)
    ends = sorted(draw(st.lists(st.integers(before, before + rows), max_size=2)))
    starts = [before, *ends]
    batches = [
        whole.slice(start, end - start)
        for start, end in zip(starts, [*ends, before + rows], strict=True)
    ]
    compression = draw(st.sampled_from([None, "lz4", "zstd"]))
    return values[before : before + rows], stream_of(*batches, compression=compression)


@given(same_events(spoiled=False))
def test_valid_events_are_the_same_from_json_and_from_columns(
    events: tuple[list[Any], bytes],
) -> None:
    values, stream = events
    expected = from_json(values)
    assert not expected.rejected
    found = parse_stream(stream, **LIMITS)
    assert_same(found, expected)


@given(same_events(spoiled=True))
def test_invalid_events_are_refused_with_the_same_words(events: tuple[list[Any], bytes]) -> None:
    values, stream = events
    assert_same(parse_stream(stream, **LIMITS), from_json(values))


def columns(**more: pa.Array) -> pa.RecordBatch:
    [size] = {len(array) for array in more.values()}
    return pa.record_batch(
        {"name": pa.array(["n"] * size), "channel_type": pa.array(["web"] * size), **more}
    )


def event(**fields: Any) -> dict[str, Any]:
    return {"channel_type": "web", "name": "n", **fields}


def errors(batch: Batch) -> list[tuple[int, str, str]]:
    return [vars_of(error) for error in batch.rejected]


PRICE = pa.struct({"price_in_usd": pa.float64()})
KEYS = pa.list_(pa.struct({"key": pa.string()}))
LARGE: dict[str, tuple[dict[str, Any], pa.Array]] = {
    "params": ({"event_params": [{"key": "k"}] * 1_001}, pa.array([[{"key": "k"}] * 1_001], KEYS)),
    "items": (
        {"items": [{"name": "i"}] * 1_001},
        pa.array([[{"name": "i"}] * 1_001], pa.large_list(pa.struct({"name": pa.string_view()}))),
    ),
    "a text": ({"user_id": "ä" * 65_537}, pa.array(["ä" * 65_537], pa.large_string())),
    "a label": (
        {"geo": {"city": "c" * 1_025}},
        pa.array([{"city": "c" * 1_025}], pa.struct({"city": pa.string_view()})),
    ),
    "an id": ({"id": "i" * 257}, pa.array(["i" * 257]).dictionary_encode()),
}


@pytest.mark.parametrize("kind", LARGE)
def test_what_is_too_large_is_so_in_columns_too(kind: str) -> None:
    fields, array = LARGE[kind]
    [name] = fields
    expected = from_json([event(**fields)])
    assert errors(expected)
    assert errors(parse_stream(stream_of(columns(**{name: array})), **LIMITS)) == errors(expected)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_a_number_is_refused_where_json_has_no_word_for_it(number: float) -> None:
    # JSON with such a word is no JSON at all. In a column only this event is invalid.
    prices = pa.array([[{"price_in_usd": number}], [{"price_in_usd": 1.5}]], pa.list_(PRICE))
    found = parse_stream(stream_of(columns(items=prices)), **LIMITS)
    message = "NaN and Infinity are not numbers: use null"
    assert errors(found) == [(0, "items[0].price_in_usd", message)]
    assert list(found.indexes) == [1]


LATE = [YEAR_2300, 10**11, 253_402_300_799, 2 * 10**14]
LATE_TIMES = [
    (unit, second * per_second)
    for unit, per_second in PER_SECOND.items()
    for second in LATE
    if second * per_second <= INT64_MAX
]


@pytest.mark.parametrize("field", ["timestamp", "previous_timestamp"])
@pytest.mark.parametrize(("unit", "count"), LATE_TIMES)
def test_a_time_past_2299_is_never_taken_for_one_in_a_smaller_unit(
    field: str, unit: str, count: int
) -> None:
    now = 1_700_000_000 * PER_SECOND[unit]
    for counts in ([count], [count, now]):
        array = pa.array(counts, pa.timestamp(unit))
        [(index, where, message)] = errors(
            parse_stream(stream_of(columns(**{field: array})), **LIMITS)
        )
        assert (index, where) == (0, field)
        assert message == f"{field} must lie in the years 1970 to 2299, in s, ms, µs or ns"


@pytest.mark.parametrize("unit", PER_SECOND)
def test_a_time_before_1973_that_is_no_whole_second_is_refused(unit: str) -> None:
    # In JSON its magnitude would tell another unit.
    counts = pa.array([PER_SECOND[unit] * 5 + PER_SECOND[unit] // 2, PER_SECOND[unit] * 5])
    found = parse_stream(stream_of(columns(timestamp=counts.cast(pa.timestamp(unit)))), **LIMITS)
    whole = [] if unit != "s" else [5_000_000]
    assert list(found.times_us) == [*whole, 5_000_000]
    assert len(found.rejected) == 1 - len(whole)


def test_a_null_is_an_absent_value_except_in_a_list() -> None:
    params = pa.array([[{"key": None}], [None], None], KEYS)
    found = parse_stream(stream_of(columns(event_params=params)), **LIMITS)
    assert errors(found) == errors(
        from_json([event(event_params=[{}]), event(event_params=[None]), event()])
    )
    # JSON may say null instead of nothing. Then the content differs, and so does its hash.
    assert found.raw[0] == from_json([event()]).raw[0]
    assert found.raw[0] != from_json([event(event_params=None)]).raw[0]


@pytest.mark.parametrize("hidden", [[], ["hidden"], ["hidden"] * 2, None])
@pytest.mark.parametrize("kind", ["list", "large", "fixed", "map"])
def test_lists_within_a_list_that_is_hidden_are_not_seen(
    kind: str, hidden: list[str] | None
) -> None:
    rows = [hidden, None, ["shown"]]
    if kind == "map":
        pairs = [keys and [(key, None) for key in keys] for keys in rows]
        params = pa.array(pairs, pa.map_(pa.string(), pa.string()))
    elif kind == "fixed":
        keys = pa.array(["hidden", None, "shown"])
        structs = pa.StructArray.from_arrays([keys], ["key"])
        params = pa.FixedSizeListArray.from_arrays(structs, 1, mask=pa.array([False, True, False]))
    else:
        structs = [keys and [{"key": key} for key in keys] for keys in rows]
        params = pa.array(structs, KEYS if kind == "list" else pa.large_list(KEYS.value_type))
    items = pa.StructArray.from_arrays([params], ["params"])
    null = pa.array([True, False])
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 3], pa.int32()), items, mask=null)
    found = parse_stream(stream_of(columns(items=lists)), **LIMITS)
    expected = from_json([event(), event(items=[{}, {"params": [{"key": "shown"}]}])])
    assert_same(found, expected)


def test_no_rows_are_no_events() -> None:
    empty = columns(user_id=pa.array([], pa.string()))
    for stream in (stream_of(empty), stream_of(empty, empty)):
        assert_same(parse_stream(stream, **LIMITS), from_json([]))
