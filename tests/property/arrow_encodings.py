"""The fields of an event, and the ways to write each of them in a column.

The fields are written down here by hand, so that a mistake in the definition shows up, too.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa
from hypothesis import strategies as st

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
YEAR_1973 = 10**8
"""In seconds, and as 10^11 ms the first time that is told from one in seconds."""
YEAR_2300 = 10_413_792_000
INT64_MAX = 2**63 - 1


class Encoding(NamedTuple):
    """One way to write the values of a field.

    Attributes:
        kind: of the column.
        valid: draws JSON values that obey the rules of the field.
        any: draws more of them, that may break the rules.
        to_arrow: converts a JSON value.
    """

    kind: pa.DataType
    valid: st.SearchStrategy[Any]
    any: st.SearchStrategy[Any]
    to_arrow: Callable[[Any], Any] = lambda value: value


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=15)
SPOILED_TEXTS = TEXTS | st.sampled_from(["", "\0", "a\0b", "e\u0301", "x" * 13])
TEXT_KINDS = [pa.string(), pa.large_string(), pa.string_view()]
CODES = [pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.int64(), pa.uint64()]
TEXT_KINDS += [pa.dictionary(code, kind) for code in CODES for kind in TEXT_KINDS[:2]]
WHOLE = {
    pa.int8(): (-(2**7), 2**7 - 1), pa.uint8(): (0, 2**8 - 1),
    pa.int16(): (-(2**15), 2**15 - 1), pa.uint16(): (0, 2**16 - 1),
    pa.int32(): (-(2**31), 2**31 - 1), pa.uint32(): (0, 2**32 - 1),
    pa.int64(): (-(2**63), INT64_MAX), pa.uint64(): (0, 2**64 - 1),
    pa.float32(): (-(2**24), 2**24), pa.float64(): (-(2**53), 2**53),
}  # fmt: skip
"""The integers that each type can hold."""
CHANNELS = ["web", "mobile", "desktop", "tv", "console", "other"]


def texts(valid: st.SearchStrategy[str] = TEXTS, spoiled: Any = SPOILED_TEXTS) -> list[Encoding]:
    return [Encoding(kind, valid, spoiled) for kind in TEXT_KINDS]


def integers(first: int, last: int) -> list[Encoding]:
    """Integers, of which those from `first` to `last` are valid."""
    found = []
    for kind, (least, most) in WHOLE.items():
        valid = st.integers(max(least, first), min(most, last))
        spoiled = st.integers(least, most)
        if pa.types.is_floating(kind):
            spoiled |= st.sampled_from([0.5, -1.25])
            found.append(Encoding(kind, valid, spoiled, float))
        else:
            found.append(Encoding(kind, valid, spoiled))
    return found


def numbers() -> list[Encoding]:
    floats = st.floats(allow_nan=False, allow_infinity=False)
    narrow = st.floats(width=32, allow_nan=False, allow_infinity=False)
    cents = st.integers(-(10**11), 10**11).map(lambda number: number / 100)
    found = [
        # In a column of floats all numbers are floats: 2^60 is not rounded, as in JSON 1.15e18.
        Encoding(pa.float64(), floats, floats | st.sampled_from([2.0**60, -(2.0**53)])),
        Encoding(pa.float32(), narrow, narrow),
        Encoding(pa.decimal128(14, 2), cents, cents, lambda number: Decimal(f"{number:.2f}")),
        Encoding(pa.decimal256(40, 4), cents, cents, lambda number: Decimal(f"{number:.2f}")),
    ]
    for kind, (least, most) in list(WHOLE.items())[:8]:
        exact = st.integers(max(least, -(2**53)), min(most, 2**53))
        found.append(Encoding(kind, exact, st.integers(least, most)))
    return found


def times(to_json: Callable[[int, int], Any], *, whole: bool) -> list[Encoding]:
    """Columns of timestamps.

    Args:
        to_json: converts a count of units since 1970, and the number of units in a second.
        whole: whether times before 1973 must be whole seconds.
    """
    found = []
    for unit, per_second in PER_SECOND.items():
        end = min(YEAR_2300 * per_second, INT64_MAX + 1)
        late = st.integers(YEAR_1973 * per_second, end - 1)
        early = st.integers(0, YEAR_1973 - 1).map(lambda second, per=per_second: second * per)
        outside = st.integers(-(10**9) * per_second, -1)
        if end <= INT64_MAX:
            outside |= st.integers(end, min(end * 20, INT64_MAX))
        if not whole:
            early |= st.integers(0, YEAR_1973 * per_second)
        for zone in (None, "UTC", "America/St_Johns"):
            valid = (late | early).map(
                lambda count, per=per_second: _Time(count, to_json(count, per))
            )
            spoiled = outside.map(lambda count, per=per_second: _Time(count, to_json(count, per)))
            found.append(Encoding(pa.timestamp(unit, zone), valid, valid | spoiled))
    return found


class _Time(NamedTuple):
    """A time in a column, and in JSON."""

    count: int
    json: Any


def unix_time(count: int, per_second: int) -> int:
    """Return a Unix time of the same instant, in a unit that its magnitude tells."""
    if count >= YEAR_2300 * per_second:
        return YEAR_2300  # as late as can be: each larger number may be in a smaller unit
    if 0 <= count < YEAR_1973 * per_second:
        return count // per_second
    return count


def rfc_3339(count: int, per_second: int) -> str:
    us = count * 10**6 // per_second
    us = max(min(us, 200_000_000_000 * 10**6), -60_000_000_000 * 10**6)
    return (EPOCH + timedelta(microseconds=us)).isoformat().replace("+00:00", "Z")


DATES = st.datetimes(datetime(1970, 1, 2), datetime(2299, 12, 30)).map(
    lambda d: f"{d.isoformat()}-03:30"
)
NO_DATES = st.sampled_from(
    ["yesterday", "", "2024-01-15", "1969-12-31T23:59:59Z", "2300-01-01T00:00:00Z",
     "2024-01-15T10:00:00", "2024-01-15T10:00:00.123456789Z", "2024-02-30T00:00:00Z"]
)  # fmt: skip
TEXT = texts()
REQUIRED_TEXT = texts(TEXTS.filter(bool))
NUMBER = numbers()
BOOLEAN = [Encoding(pa.bool_(), st.booleans(), st.booleans())]
INTEGER = integers(-(2**63), INT64_MAX)
UNIX_TIME = integers(0, YEAR_1973) + times(unix_time, whole=True)
DATE = texts(DATES, DATES | NO_DATES) + times(rfc_3339, whole=False)
VALUES = {"string_value": TEXT, "number_value": NUMBER, "boolean_value": BOOLEAN}
PARAM = {"key": texts(), **VALUES}
Fields = Mapping[str, Any]


def labels(*names: str) -> Fields:
    return dict.fromkeys(names, TEXT)


EVENT: Fields = {
    "id": REQUIRED_TEXT,
    "name": REQUIRED_TEXT,
    "channel_type": texts(st.sampled_from(CHANNELS), st.sampled_from([*CHANNELS, "", "radio"])),
    "timestamp": UNIX_TIME,
    "previous_timestamp": UNIX_TIME,
    "date": DATE,
    **labels("user_id", "user_pseudo_id"),
    "event_params": [PARAM],
    "user_params": [PARAM],
    "device": labels(
        "category", "mobile_brand_name", "mobile_model_name", "operating_system",
        "operating_system_version", "language", "browser_name", "browser_version", "hostname",
    ),
    "app_info": labels("id", "version"),
    "geo": labels("continent", "sub_continent", "country", "region", "metro", "city"),
    "items": [
        {
            **labels("id", "name", "brand", "variant", "location_id", "list_id", "list_name"),
            **labels("promotion_id", "promotion_name"),
            "price_in_usd": NUMBER,
            "revenue_in_usd": NUMBER,
            "quantity": INTEGER,
            "params": [PARAM],
        }
    ],
}  # fmt: skip
REQUIRED = ("name", "channel_type", "key")
