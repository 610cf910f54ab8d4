"""Abusive JSON is refused with a clear message, and quickly."""

import time

import pytest

from ingest.errors import PayloadError, TooLargeError
from ingest.parsing.batch import events_of
from ingest.parsing.strict_json import Decoded, decode, decode_lines
from ingest.parsing.validation import ERRORS_MAX, validate

WEB = b'{"name":"a","channel_type":"web",'
GOOD = b'{"name":"e","channel_type":"web"}'


def rejection(body: bytes) -> tuple[str, str]:
    """Return the field and the message of the error of the one event in a body."""
    decoded = decode(body)
    batch = validate(Decoded([decoded.value], decoded.flawed))
    [error] = batch.rejected
    return error.field, error.message


@pytest.mark.parametrize(
    "body",
    [b"", b"  ", b"{", b"nul", b'{"a":NaN}', b'{"a":Infinity}', b'{"a":1e400}', b"[1,]", b"{}{}",
     b'{"a":"\xff"}', b'{"a":"\\ud800"}', b'{"a":"\x01"}', b"'a'", b"[" * 100_000,
     b"[" * 10_000_000, b'{"a":' * 100_000],
    ids=["empty", "blank", "open", "word", "nan", "infinity", "1e400", "comma", "two", "utf-8",
         "surrogate", "control", "quotes", "100 kB of [", "10 MB of [", "deep objects"],
)  # fmt: skip
def test_what_is_not_json_is_refused_at_once(body: bytes) -> None:
    started_s = time.process_time()
    with pytest.raises(PayloadError):
        decode(body)
    assert time.process_time() - started_s < 1


@pytest.mark.parametrize(
    ("body", "field", "part"),
    [
        (b'{"name":"a","name":"b","channel_type":"web"}', "", "'name' appears twice"),
        (b'{"name":"a","name" :"b","channel_type":"web"}', "", "'name' appears twice"),
        (WEB + b'"x":{"k":1,"k":1}}', "x", "'k' appears twice"),
        (WEB + b'"n\\u0061me":"b"}', "", "'name' appears twice"),
        (b'{"name":"a\\u0000b","channel_type":"web"}', "name", "NUL"),
        (WEB + b'"\\u0000":1}', "\\0", "NUL"),
        (WEB + b'"timestamp":true}', "timestamp", "int"),
        (WEB + b'"timestamp":1.5}', "timestamp", "int"),
        (WEB + b'"timestamp":"1"}', "timestamp", "int"),
        (WEB + b'"timestamp":-1}', "timestamp", ">= 0"),
        (WEB + b'"timestamp":18446744073709551616}', "timestamp", "int"),
        (WEB + b'"timestamp":10413792000}', "timestamp", "1970 to 2299"),
        (WEB + b'"date":"2024-02-30T00:00:00Z"}', "date", "RFC3339"),
        (WEB + b'"date":"2024-02-03"}', "date", "RFC3339"),
        (WEB + b'"date":"2024-02-03T00:00:00"}', "date", "timezone"),
        (WEB + b'"date":"2300-01-01T00:00:00Z"}', "date", "1970 to 2299"),
        (WEB + b'"date":"1969-12-31T23:59:59Z"}', "date", "1970 to 2299"),
        (b'{"name":"a","channel_type":"radio"}', "channel_type", "radio"),
        (b'{"name":"","channel_type":"web"}', "name", "length >= 1"),
        (b'{"channel_type":"web"}', "name", "missing"),
        (WEB + b'"event_params":[{}]}', "event_params[0].key", "missing"),
        (WEB + b'"event_params":{"key":"a"}}', "event_params", "array"),
        (WEB + b'"items":[{"quantity":1.5}]}', "items[0].quantity", "int"),
        (WEB + b'"items":[{"quantity":9223372036854775808}]}',
         "items[0].quantity", "<="),
        (WEB + b'"items":[{"price_in_usd":true}]}',
         "items[0].price_in_usd", "float"),
        (WEB + b'"device":[]}', "device", "object"),
        (WEB + b'"id":""}', "id", "length >= 1"),
        (WEB + b'"id":"' + b"x" * 257 + b'"}', "id", "length <= 256"),
        (b"[]", "", "object"),
        (b"1", "", "object"),
        (b"null", "", "object"),
    ],
)  # fmt: skip
def test_a_bad_event_is_rejected_with_its_field(body: bytes, field: str, part: str) -> None:
    where, message = rejection(body)
    assert where == field
    assert part in message


def test_what_is_nested_too_deeply_is_rejected_with_the_start_of_its_path() -> None:
    field, message = rejection(WEB + b'"x":' + b"[" * 300 + b"]" * 300 + b"}")
    assert field.startswith("x[0][0]")
    assert len(field) <= 200
    assert "deeper" in message


def test_a_hundred_thousand_keys_and_an_empty_key_are_harmless() -> None:
    keys = b",".join(b'"k%d":1' % index for index in range(100_000))
    decoded = decode(WEB + b'"":1,' + keys + b"}")
    assert not validate(Decoded([decoded.value], decoded.flawed)).rejected


@pytest.mark.parametrize("body", [b"1", b'"events"', b"{}", b'{"events":{}}', b"null"])
def test_a_batch_that_is_no_list_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadError):
        events_of(decode(body).value)


def test_a_batch_whose_list_was_sent_twice_is_refused() -> None:
    with pytest.raises(PayloadError, match="twice"):
        events_of(decode(b'{"events":[],"events":[]}').value)


def test_a_bad_line_is_named_and_the_others_are_kept() -> None:
    decoded = decode_lines(GOOD + b"\n\n{\n" + GOOD, events_max=10)
    batch = validate(decoded)
    assert list(batch.indexes) == [0, 2]
    [error] = batch.rejected
    assert (error.index, error.message[:7]) == (1, "Line 3:")


def test_more_lines_than_allowed_are_refused() -> None:
    with pytest.raises(TooLargeError):
        decode_lines(b"\n".join([GOOD] * 11), events_max=10)


def test_only_so_many_errors_are_explained() -> None:
    batch = validate(Decoded([{}] * 500, False))
    assert (batch.size, len(batch.events), len(batch.rejected)) == (500, 0, ERRORS_MAX)


@pytest.mark.parametrize(
    ("timestamp", "time_us"),
    [(0, 0), (1_705_312_800, 1_705_312_800_000_000), (1_705_312_800_123, 1_705_312_800_123_000),
     (1_705_312_800_123_456, 1_705_312_800_123_456),
     (1_705_312_800_123_456_789, 1_705_312_800_123_456)],
    ids=["epoch", "s", "ms", "µs", "ns"],
)  # fmt: skip
def test_the_unit_of_a_timestamp_is_told_by_its_magnitude(timestamp: int, time_us: int) -> None:
    event = {"name": "a", "channel_type": "web", "timestamp": timestamp}
    assert validate(Decoded([event], False)).times_us == [time_us]


def test_a_date_wins_over_a_timestamp() -> None:
    event = {
        "name": "a",
        "channel_type": "web",
        "timestamp": 1,
        "date": "1970-01-01T00:00:05+00:00",
    }
    assert validate(Decoded([event | {"timestamp": 1}], False)).times_us == [5_000_000]
