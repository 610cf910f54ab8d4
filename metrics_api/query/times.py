"""Instants, ranges and time zones as clients write them."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal, get_args

from metrics_api.calendar import shifts
from metrics_api.calendar.moments import UNITS, Unit, first_us, moment_of, next_bucket_us, us_of
from metrics_api.calendar.shifts import Step
from metrics_api.calendar.zones import UTC_NAME, zone_names, zone_of
from metrics_api.errors import ParameterError
from metrics_api.query.query_string import Parameters

Comparison = Literal["previous", "year"]
COMPARISONS: tuple[Comparison, ...] = get_args(Comparison)

EARLIEST_TEXT = "0001-01-01T00:00:00Z"
"""How the reply prints a `from` that was not given."""

_RFC_3339 = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[Tt ](?P<time>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d+))?"
    r"(?P<zone>[Zz]|[+-]\d\d:\d\d)"
)
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_LAST = re.compile(r"([1-9]\d{0,5})(min|h|d|w|mo|y)")
_CLOCK_S = {"min": 60, "h": 3600}
_LAST_STEPS = {"d": Step(days=1), "w": Step(days=7), "mo": Step(months=1), "y": Step(months=12)}
_LAST_UNITS: dict[str, Unit] = {
    "min": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "month"
}  # fmt: skip
"""The longest buckets that `last` in such a unit has whole."""


@dataclass(frozen=True, slots=True)
class Instant:
    """us: µs since 1970; text: as the reply prints it, in the offset it was given in."""

    us: int
    text: str


@dataclass(frozen=True, slots=True)
class Range:
    """start and end are both inclusive; a start of None has no lower bound. step: what `last` asked
    for, if it did."""

    start: Instant | None
    end: Instant
    zone: str = UTC_NAME
    step: Step | None = None

    def document(self) -> dict[str, str]:
        """As replies print it."""
        start = self.start.text if self.start is not None else EARLIEST_TEXT
        return {"from": start, "to": self.end.text}

    def compared(self, comparison: Comparison) -> "Range":
        """The range before this one, or the same a year earlier. Raises ParameterError."""
        if self.start is None:
            raise ParameterError("Query parameter compare needs from or last")
        zone = zone_of(self.zone)
        try:
            if comparison == "previous":
                bounds = shifts.previous(self.start.us, self.end.us, zone, self.step)
            else:
                bounds = shifts.year_before(self.start.us, self.end.us, zone)
        except (ValueError, OverflowError) as error:
            raise ParameterError("The range to compare with begins before the year 1") from error
        start, end = (_printed(us, zone) for us in bounds)
        return Range(start, end, self.zone)


def parse_range(parameters: Parameters, *, now_us: int, buckets: Unit | None = None) -> Range:
    """From `from`, `to`, `last` and `tz`. buckets: what `last` has whole, but for the present one,
    unless they are longer than its unit. Raises ParameterError."""
    zone_name = parameters.one("tz") or UTC_NAME
    if zone_name not in zone_names():
        raise ParameterError(
            "Query parameter tz must be an IANA time zone such as Europe/Berlin or UTC"
        )
    zone = zone_of(zone_name)
    texts = {name: parameters.one(name) for name in ("from", "to", "last")}
    if texts["last"]:
        if texts["from"] or texts["to"]:
            raise ParameterError("Query parameter last stands alone: leave out from and to")
        step, unit = _parse_last(texts["last"])
        try:
            start_us = step.back(now_us, zone)
        except (ValueError, OverflowError) as error:
            raise ParameterError("Query parameter last reaches before the year 1") from error
        if buckets is not None and UNITS.index(buckets) <= UNITS.index(unit):
            start_us = next_bucket_us(buckets, start_us, zone)
        return Range(_printed(start_us, zone), _printed(now_us, zone), zone_name, step)
    start = parse_instant("from", texts["from"], zone) if texts["from"] else None
    end = parse_instant("to", texts["to"], zone, is_end=True) if texts["to"] else None
    end = end or _printed(now_us, zone)
    if start is not None and start.us > end.us:
        told = "" if texts["to"] else ", which is now when it is left out"
        raise ParameterError(f"Query parameter from must not be later than to{told}")
    return Range(start, end, zone_name)


def parse_instant(name: str, text: str, zone: tzinfo = UTC, *, is_end: bool = False) -> Instant:
    """An RFC 3339 date-time, or a day of `zone`: its first instant, or its last when `is_end`.

    Raises ParameterError naming the parameter `name`.
    """
    # An offset's "+" that was not percent-encoded arrives as a space.
    text = re.sub(r" (?=\d\d:\d\d$)", "+", text)
    match = _RFC_3339.fullmatch(text)
    try:
        if _DAY.fullmatch(text):
            day = date.fromisoformat(text)
            return _printed(first_us(day + timedelta(days=is_end), zone) - is_end, zone)
        if match is None:
            raise ValueError
        fraction = (match["fraction"] or "").rstrip("0")
        offset = match["zone"].upper().replace("-00:00", "Z").replace("+00:00", "Z")
        moment = datetime.fromisoformat(
            f"{match['day']}T{match['time']}{offset.replace('Z', '+00:00')}"
        )
        us = us_of(moment) + int(fraction[:6].ljust(6, "0"))
    except (ValueError, OverflowError) as error:
        raise ParameterError(
            f"Query parameter {name} must be an RFC 3339 time such as 2024-01-15T10:00:00Z,"
            " or a day such as 2024-01-15"
        ) from error
    printed = f"{match['day']}T{match['time']}{'.' + fraction if fraction else ''}{offset}"
    return Instant(us, printed)


def printed_ms(us: int) -> str:
    """An instant as replies print what was measured: in UTC, to the millisecond."""
    return moment_of(us).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_duration_us(name: str, text: str) -> int:
    """Such as 30min, 2h, 7d or 1w. Raises ParameterError naming the parameter `name`."""
    match = _LAST.fullmatch(text)
    units = {"min": 60, "h": 3600, "d": 86_400, "w": 604_800}
    if match is None or match[2] not in units:
        raise ParameterError(
            f"Query parameter {name} must be a number and min, h, d or w, such as 7d"
        )
    return int(match[1]) * units[match[2]] * 1_000_000


def _parse_last(text: str) -> tuple[Step, Unit]:
    """Minutes and hours go by the clock, the rest by the calendar."""
    match = _LAST.fullmatch(text)
    if match is None:
        raise ParameterError(
            "Query parameter last must be a number and min, h, d, w, mo or y, such as 7d"
        )
    count, unit = int(match[1]), match[2]
    if unit in _CLOCK_S:
        return Step(us=count * _CLOCK_S[unit] * 1_000_000), _LAST_UNITS[unit]
    one = _LAST_STEPS[unit]
    return Step(months=count * one.months, days=count * one.days), _LAST_UNITS[unit]


def _printed(us: int, zone: tzinfo) -> Instant:
    """As the contract prints it: whole seconds, and Z for UTC."""
    try:
        text = moment_of(us, zone).isoformat(timespec="seconds")
    except (ValueError, OverflowError) as error:
        raise ParameterError("A time lies outside the years 1 to 9999") from error
    return Instant(us, text.replace("+00:00", "Z"))
