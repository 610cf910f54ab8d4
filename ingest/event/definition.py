"""The definition of an event.

The validation (msgspec), the Arrow schema, the ClickHouse columns and the OpenAPI schema are all
derived from the types below. To add a field, add it only here. The next start adds missing columns
to the table.

`null` means absent. Unknown fields are ignored. Every field is stored.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple, Required, TypedDict

from msgspec import Meta

INT64_MAX = 2**63 - 1
ID_LENGTH_MAX = 256
LABEL_LENGTH_MAX = 1_024
TEXT_LENGTH_MAX = 65_536
PARAMS_MAX, ITEMS_MAX = 1_000, 1_000

SECOND_US = 1_000_000
YEAR_MIN, YEAR_MAX = 1970, 2299
EVENT_TIME_END_US = 10_413_792_000 * SECOND_US
"""2300-01-01T00:00:00Z in µs: the first instant that is too late. DateTime64 ends with 2299."""


class TimestampUnit(NamedTuple):
    """A unit of Unix times: µs = value * multiplier // divisor.

    Attributes:
        first: smallest value in this unit.
        end: first value that is too large for this unit.
        multiplier: see above.
        divisor: see above.
    """

    first: int
    end: int
    multiplier: int
    divisor: int


TIMESTAMP_UNITS_US = (
    # seconds, to the end of 2299
    TimestampUnit(first=0, end=10_413_792_000, multiplier=1_000_000, divisor=1),
    # milliseconds, from 1973
    TimestampUnit(first=10**11, end=10_413_792_000 * 10**3, multiplier=1_000, divisor=1),
    # microseconds, from 1973
    TimestampUnit(first=10**14, end=10_413_792_000 * 10**6, multiplier=1, divisor=1),
    # nanoseconds, 1973 to 2262
    TimestampUnit(first=10**17, end=INT64_MAX + 1, multiplier=1, divisor=1_000),
)
"""The magnitude of a Unix time tells its unit. Values between the units are past 2299."""


def _text(description: str = "", *, max_length: int = TEXT_LENGTH_MAX, **extra: Any) -> Any:
    return Meta(description=description or None, max_length=max_length, extra=extra)


Text = Annotated[str, _text()]
Label = Annotated[str, _text(max_length=LABEL_LENGTH_MAX, low_cardinality=True)]
"""A string with few distinct values, stored with dictionary encoding."""
UnixTime = Annotated[
    int,
    Meta(
        ge=0,
        le=INT64_MAX,
        description="Unix time in s, ms, µs or ns; the magnitude tells the unit",
        examples=[1_705_312_800],
        extra_json_schema={
            "anyOf": [
                {"minimum": unit.first, "maximum": unit.end - 1} for unit in TIMESTAMP_UNITS_US
            ]
        },
    ),
]
INTEGER_MAX = 2**53
"""Largest integer in a number field. A float can hold all integers up to it, but not beyond."""
Number = Annotated[int, Meta(ge=-INTEGER_MAX, le=INTEGER_MAX)] | float
"""Stored as a float."""
Int64 = Annotated[int, Meta(ge=-INT64_MAX - 1, le=INT64_MAX)]


class Param(TypedDict, total=False):
    """A key with at most one kind of value. `0`, `false`, `""` and absent are different."""

    key: Required[
        Annotated[
            str, _text("The parameter's name", max_length=LABEL_LENGTH_MAX, low_cardinality=True)
        ]
    ]
    string_value: Annotated[str, _text(nullable=True)] | None
    number_value: Number | None
    boolean_value: bool | None


Params = Annotated[list[Param], Meta(max_length=PARAMS_MAX)]


class Device(TypedDict, total=False):
    """The device on which the event happened."""

    category: Label | None
    mobile_brand_name: Label | None
    mobile_model_name: Label | None
    operating_system: Label | None
    operating_system_version: Label | None
    language: Label | None
    browser_name: Label | None
    browser_version: Label | None
    hostname: Label | None


class AppInfo(TypedDict, total=False):
    """The app that sent the event."""

    id: Label | None
    version: Label | None


class Geo(TypedDict, total=False):
    """Where the event came from."""

    continent: Label | None
    sub_continent: Label | None
    country: Label | None
    region: Label | None
    metro: Label | None
    city: Label | None


class Item(TypedDict, total=False):
    """A product in the event."""

    id: Text | None
    name: Text | None
    brand: Label | None
    variant: Text | None
    location_id: Text | None
    list_id: Text | None
    list_name: Text | None
    promotion_id: Text | None
    promotion_name: Text | None
    price_in_usd: Number | None
    revenue_in_usd: Number | None
    quantity: Int64 | None
    params: Params | None


class Event(TypedDict, total=False):
    """One GA4-like event."""

    id: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=ID_LENGTH_MAX,
                description="The client's own id; an event is counted once per id, name and time",
            ),
        ]
        | None
    )
    name: Required[
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=LABEL_LENGTH_MAX,
                description="What happened",
                examples=["page_view"],
                extra={"low_cardinality": True},
            ),
        ]
    ]
    channel_type: Required[Literal["web", "mobile", "desktop", "tv", "console", "other"]]
    timestamp: UnixTime | None
    previous_timestamp: UnixTime | None
    date: (
        Annotated[
            datetime,
            Meta(
                tz=True,
                description="RFC 3339, years 1970 to 2299; used instead of timestamp",
                examples=["2024-01-15T10:00:00Z"],
            ),
        ]
        | None
    )
    user_id: Text | None
    user_pseudo_id: Text | None
    event_params: Params | None
    user_params: Params | None
    device: Device | None
    app_info: AppInfo | None
    geo: Geo | None
    items: Annotated[list[Item], Meta(max_length=ITEMS_MAX)] | None
