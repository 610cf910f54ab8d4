"""Parse instants, ranges, durations and time zones."""

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
"""Text of `from` in a query result if the request had none."""

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
"""Unit of `last` to the longest bucket for which the range begins at the start of a bucket."""


@dataclass(frozen=True, slots=True)
class Instant:
    """An instant, and how a query result prints it.

    Attributes:
        us: µs since 1970.
        text: RFC 3339, with the offset of the request.
    """

    us: int
    text: str


@dataclass(frozen=True, slots=True)
class Range:
    """A range of time. Both bounds are inclusive.

    Attributes:
        start: first instant, None for no lower bound.
        end: last instant.
        zone: name of the time zone of days and hours.
        step: length of the range if it was given by `last`, else None.
    """

    start: Instant | None
    end: Instant
    zone: str = UTC_NAME
    step: Step | None = None

    def document(self) -> dict[str, str]:
        """Return the part of a query result that says which range it is of."""
        start = self.start.text if self.start is not None else EARLIEST_TEXT
        return {"from": start, "to": self.end.text}

    def compared(self, comparison: Comparison) -> "Range":
        """Return the range before this one, or the same range a year earlier.

        Raises:
            ParameterError: This range has no start, or the other one begins before the year 1.
        """
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
    """Parse `from`, `to`, `last` and `tz`.

    Args:
        parameters: query parameters of the request.
        now_us: present time, in µs since 1970; the default of `to`.
        buckets: length of the buckets of the query. With `last`, the range begins at the start of
            such a bucket, so that only the present one is incomplete. Buckets that are longer than
            the unit of `last` are ignored.

    Raises:
        ParameterError: A parameter is wrong, or two of them contradict each other.
    """
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
        default = "" if texts["to"] else ", which is now when it is left out"
        raise ParameterError(f"Query parameter from must not be later than to{default}")
    return Range(start, end, zone_name)


def parse_instant(name: str, text: str, zone: tzinfo = UTC, *, is_end: bool = False) -> Instant:
    """Parse an RFC 3339 date-time or a day.

    Args:
        name: query parameter that has the text, for the message.
        text: text as the client wrote it.
        zone: zone of a day.
        is_end: whether a day stands for its last instant, not its first.

    Raises:
        ParameterError: The text is neither.
    """
    # An offset's "+" that was not percent-encoded arrives as a space.
    text = re.sub(r" (?=\d\d:\d\d$)", "+", text)
    match = _RFC_3339.fullmatch(text)
    try:
        if _DAY.fullmatch(text):
            day = date.fromisoformat(text)
            if not is_end:
                return _printed(first_us(day, zone), zone)
            return _printed(first_us(day + timedelta(days=1), zone) - 1, zone)
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
    """Print an instant in UTC with milliseconds, as query results print times of events."""
    return moment_of(us).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_duration_us(name: str, text: str) -> int:
    """Parse a duration such as 30min, 2h, 7d or 1w.

    Args:
        name: query parameter that has the text, for the message.
        text: text as the client wrote it.

    Returns:
        The duration in µs.

    Raises:
        ParameterError: The text is no such duration.
    """
    match = _LAST.fullmatch(text)
    units = {"min": 60, "h": 3600, "d": 86_400, "w": 604_800}
    if match is None or match[2] not in units:
        raise ParameterError(
            f"Query parameter {name} must be a number and min, h, d or w, such as 7d"
        )
    return int(match[1]) * units[match[2]] * 1_000_000


def _parse_last(text: str) -> tuple[Step, Unit]:
    """Parse `last`.

    Returns:
        The step, in µs for minutes and hours and by the calendar for longer units; and the unit.
    """
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
    """Make an instant whose text has whole seconds, and Z for UTC."""
    try:
        text = moment_of(us, zone).isoformat(timespec="seconds")
    except (ValueError, OverflowError) as error:
        raise ParameterError("A time lies outside the years 1 to 9999") from error
    return Instant(us, text.replace("+00:00", "Z"))
