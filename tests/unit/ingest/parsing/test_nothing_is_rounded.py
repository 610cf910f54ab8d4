"""Every parsing path keeps integers and times as sent, or refuses them."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from ingest.errors import EventError
from ingest.parsing.arrow_parser import parse_lists
from ingest.parsing.batch import Batch
from ingest.parsing.formats import JSON_FORMATS, BodyFormat
from ingest.parsing.msgspec_parser import parse_list
from ingest.parsing.parser import parse_as_columns, parse_body
from ingest.parsing.strict_json import decode, decode_lines
from ingest.parsing.validation import validate

EVENT, BATCH, NDJSON = JSON_FORMATS

COUNTED = 10


def event(**fields: Any) -> dict[str, Any]:
    return {"name": "n", "channel_type": "web", "id": "1", **fields}


def spaced(value: Any) -> bytes:
    return json.dumps(value).encode()


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def parsed(kind: BodyFormat, body: bytes) -> Batch:
    """Parse on all paths. The fast path of Arrow must agree if it accepts the body."""
    together = parse_as_columns(kind, [body])
    alone = parse_body(kind, body, COUNTED)
    if together is not None:
        assert list(together[0].times_us) == list(alone.times_us)
    return alone


WAYS: list[tuple[BodyFormat, Callable[[Any], Any]]] = [
    (EVENT, lambda value: value), (BATCH, lambda value: [value]), (NDJSON, lambda value: value),
    (BATCH, lambda value: {"events": [value]}),
]  # fmt: skip
WRITERS = [spaced, compact]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(("kind", "wrap"), WAYS)
@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 10**18, 2**64 + 1, -(2**64), 10**40])
@pytest.mark.parametrize(
    "field", ["event_params[0].number_value", "items[0].price_in_usd", "items[0].revenue_in_usd"]
)
def test_an_integer_that_would_be_rounded_is_refused_by_name(
    write: Callable[[Any], bytes],
    kind: BodyFormat,
    wrap: Callable[[Any], Any],
    number: int,
    field: str,
) -> None:
    of, _, name = field.partition("[0].")
    value = {name: number, **({"key": "k"} if of == "event_params" else {})}
    body = write(wrap(event(**{of: [value]})))
    [error] = parsed(kind, body).rejected
    assert isinstance(error, EventError)
    assert error.field == field
    assert "2^53" in str(error.message)
    assert parse_as_columns(kind, [body]) is None


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(("kind", "wrap"), WAYS)
@pytest.mark.parametrize("number", [2**53, -(2**53), 0, -0.0, 5e-324, 1e300, 2.0**70, 0.1])
def test_numbers_that_a_float_holds_are_taken(
    write: Callable[[Any], bytes],
    kind: BodyFormat,
    wrap: Callable[[Any], Any],
    number: float,
) -> None:
    batch = parsed(kind, write(wrap(event(event_params=[{"key": "k", "number_value": number}]))))
    assert not batch.rejected
    [text] = batch.events
    assert json.loads(text)["event_params"][0]["number_value"] == number


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(("kind", "wrap"), WAYS)
def test_integers_of_any_size_in_unknown_fields_are_ignored(
    write: Callable[[Any], bytes], kind: BodyFormat, wrap: Callable[[Any], Any]
) -> None:
    sent = {**event(date="2024-01-01T00:00:00Z"), "other": [2**64 + 1, 10**40]}
    del sent["id"]
    batch = parsed(kind, write(wrap(sent)))
    assert not batch.rejected
    assert batch.raw == [{**sent, "other": [2.0**64, 1e40]}]


@pytest.mark.parametrize("field", ["timestamp", "items[0].quantity"])
def test_an_integer_beyond_64_bits_is_no_integer_of_ours(field: str) -> None:
    sent = event(timestamp=2**64) if field == "timestamp" else event(items=[{"quantity": 2**64}])
    [error] = validate(decode_lines(spaced(sent), 1)).rejected
    assert error.field == field


LAST = "2299-12-31T23:59:59."
LAST_US = 10_413_791_999_999_999


@pytest.mark.parametrize(("kind", "wrap"), WAYS)
@pytest.mark.parametrize("digits", ["999999", "9999999", "999999999", "999999999999999999"])
@pytest.mark.parametrize("zone", ["Z", "+00:00", "-00:00"])
@pytest.mark.parametrize("write", WRITERS)
def test_what_is_after_microseconds_is_cut(
    write: Callable[[Any], bytes],
    kind: BodyFormat,
    wrap: Callable[[Any], Any],
    digits: str,
    zone: str,
) -> None:
    batch = parsed(kind, write(wrap(event(date=f"{LAST}{digits}{zone}"))))
    assert not batch.rejected
    assert list(batch.times_us) == [LAST_US]
    [text] = batch.events
    assert datetime.fromisoformat(json.loads(text)["date"]).year == 2299


def test_a_digit_that_is_escaped_is_cut_too() -> None:
    body = spaced([event(date="2024-01-31T23:59:59.999999@Z")]).replace(b"@", b"\\u0039")
    assert parse_list(body) is None
    counted = parse_lists([body])
    assert counted is None
    assert list(parse_body(BATCH, body, COUNTED).times_us) == [1_706_745_599_999_999]


def test_a_date_that_is_wrong_stays_wrong() -> None:
    for date in ("2024-01-31T23:59:59.99999999", "2024-01-31T23:59:59.9999999x", "x" * 40):
        assert validate(decode(spaced([event(date=date)]))).rejected
