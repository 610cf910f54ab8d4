"""Instants, ranges and time zones as clients write them, and the calendar that they follow."""

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Literal, get_args
from zoneinfo import ZoneInfo, available_timezones

from metrics_api.errors import ParameterError
from metrics_api.query_string import Parameters

Unit = Literal["minute", "hour", "day", "week", "month"]
UNITS: tuple[Unit, ...] = get_args(Unit)
Comparison = Literal["previous", "year"]
COMPARISONS: tuple[Comparison, ...] = get_args(Comparison)

UTC_NAME = "UTC"
EARLIEST_TEXT = "0001-01-01T00:00:00Z"
"""How the reply prints a `from` that was not given."""
BUCKETS_MAX = 10_000
"""Buckets that `fill=true` makes, of one series."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_RFC_3339 = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[Tt ](?P<time>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d+))?"
    r"(?P<zone>[Zz]|[+-]\d\d:\d\d)"
)
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_LAST = re.compile(r"([1-9]\d{0,5})(min|h|d|w|mo|y)")
_SHOWN = {"minute": "%Y-%m-%d %H:%M:00", "hour": "%Y-%m-%d %H:00:00", "day": "%Y-%m-%d"}
_SHOWN |= {"week": "%Y-%m-%d", "month": "%Y-%m"}


@dataclass(frozen=True, slots=True)
class Instant:
    """us: µs since 1970; text: as the reply prints it, in the offset it was given in."""

    us: int
    text: str


@dataclass(frozen=True, slots=True)
class Range:
    """start and end are both inclusive; a start of None has no lower bound. is_open: the end is the
    time of asking."""

    start: Instant | None
    end: Instant
    is_open: bool
    zone: str = UTC_NAME

    def document(self) -> dict[str, str]:
        """As replies print it."""
        start = self.start.text if self.start is not None else EARLIEST_TEXT
        return {"from": start, "to": self.end.text}

    def compared(self, comparison: Comparison) -> "Range":
        """The range before this one, or the same a year earlier. Raises ParameterError."""
        if self.start is None:
            raise ParameterError("Query parameter compare needs from or last")
        if comparison == "previous":
            end_us = self.start.us - 1
            start_us = end_us - (self.end.us - self.start.us)
        else:
            start_us, end_us = (
                _shifted(bound.us, -12, ZoneInfo(self.zone)) for bound in (self.start, self.end)
            )
        zone = ZoneInfo(self.zone)
        return Range(_printed(start_us, zone), _printed(end_us, zone), self.is_open, self.zone)


def parse_range(parameters: Parameters, *, now_us: int) -> Range:
    """From `from`, `to`, `last` and `tz`. Raises ParameterError."""
    zone_name = parameters.one("tz") or UTC_NAME
    if zone_name not in _zones():
        raise ParameterError(
            "Query parameter tz must be an IANA time zone such as Europe/Berlin or UTC"
        )
    zone = ZoneInfo(zone_name)
    texts = {name: parameters.one(name) for name in ("from", "to", "last")}
    if texts["last"]:
        if texts["from"] or texts["to"]:
            raise ParameterError("Query parameter last stands alone: leave out from and to")
        start_us = _before(texts["last"], now_us, zone)
        return Range(_printed(start_us, zone), _printed(now_us, zone), True, zone_name)
    start = parse_instant("from", texts["from"], zone) if texts["from"] else None
    end = parse_instant("to", texts["to"], zone, is_end=True) if texts["to"] else None
    is_open = end is None or end.us >= now_us
    end = end or _printed(now_us, zone)
    if start is not None and start.us > end.us:
        raise ParameterError("Query parameter from must not be later than to")
    return Range(start, end, is_open, zone_name)


def parse_instant(
    name: str, text: str, zone: ZoneInfo | None = None, *, is_end: bool = False
) -> Instant:
    """An RFC 3339 date-time, or a day of `zone`: its first instant, or its last when `is_end`.

    Raises ParameterError naming the parameter `name`.
    """
    # An offset's "+" that was not percent-encoded arrives as a space.
    text = re.sub(r" (?=\d\d:\d\d$)", "+", text)
    match = _RFC_3339.fullmatch(text)
    try:
        if _DAY.fullmatch(text):
            day = date.fromisoformat(text)
            return _printed(_first_us(day + timedelta(days=is_end), zone) - is_end, zone)
        if match is None:
            raise ValueError
        fraction = (match["fraction"] or "").rstrip("0")
        offset = match["zone"].upper().replace("-00:00", "Z").replace("+00:00", "Z")
        moment = datetime.fromisoformat(
            f"{match['day']}T{match['time']}{offset.replace('Z', '+00:00')}"
        )
        us = (moment - _EPOCH) // _MICROSECOND + int(fraction[:6].ljust(6, "0"))
    except (ValueError, OverflowError) as error:
        raise ParameterError(
            f"Query parameter {name} must be an RFC 3339 time such as 2024-01-15T10:00:00Z,"
            " or a day such as 2024-01-15"
        ) from error
    printed = f"{match['day']}T{match['time']}{'.' + fraction if fraction else ''}{offset}"
    return Instant(us, printed)


def printed_ms(us: int) -> str:
    """An instant as replies print what was measured: in UTC, to the millisecond."""
    return _moment(us, None).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_duration_us(name: str, text: str) -> int:
    """Such as 30min, 2h, 7d or 1w. Raises ParameterError naming the parameter `name`."""
    match = _LAST.fullmatch(text)
    units = {"min": 60, "h": 3600, "d": 86_400, "w": 604_800}
    if match is None or match[2] not in units:
        raise ParameterError(
            f"Query parameter {name} must be a number and min, h, d or w, such as 7d"
        )
    return int(match[1]) * units[match[2]] * 1_000_000


def buckets(unit: Unit, start_us: int, end_us: int, zone_name: str) -> Iterator[str]:
    """The names of the buckets from the one with `start_us` to the one with `end_us`, in order,
    as `dimensions.bucket` names them. Raises ParameterError when there are too many."""
    zone = ZoneInfo(zone_name)
    shown = _SHOWN[unit] + ("%z" if zone_name != UTC_NAME and unit in ("minute", "hour") else "")
    # Steps that no bucket is shorter than: clocks are set by whole quarters of an hour.
    step_us = {"minute": 60_000_000, "hour": 900_000_000}.get(unit, 12 * 3_600_000_000)
    if (end_us - start_us) // step_us > BUCKETS_MAX * 4:
        raise _too_many()
    previous, count = None, 0
    for at_us in [
        start_us,
        *range(start_us - start_us % step_us + step_us, end_us, step_us),
        end_us,
    ]:
        moment = _moment(at_us, zone)
        if unit == "week":
            moment -= timedelta(days=moment.weekday())
        name = moment.strftime(shown)
        if name != previous:
            if count == BUCKETS_MAX:
                raise _too_many()
            yield name
            previous, count = name, count + 1


def bucket_us(name: str, zone_name: str) -> int:
    """When the bucket `name` begins, in µs since 1970."""
    moment = datetime.fromisoformat(f"{name}-01" if len(name) == len("2024-01") else name)
    return _us(moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone_name)))


def _too_many() -> ParameterError:
    return ParameterError(
        f"Query parameter fill makes {BUCKETS_MAX} buckets at most: ask for a shorter range or"
        " for longer buckets"
    )


def _before(text: str, now_us: int, zone: ZoneInfo) -> int:
    """`text` before now: minutes and hours by the clock, the rest by the calendar of `zone`."""
    match = _LAST.fullmatch(text)
    if match is None:
        raise ParameterError(
            "Query parameter last must be a number and min, h, d, w, mo or y, such as 7d"
        )
    count, unit = int(match[1]), match[2]
    try:
        if unit in ("min", "h"):
            return now_us - count * (60 if unit == "min" else 3600) * 1_000_000
        if unit in ("mo", "y"):
            return _shifted(now_us, -count * (12 if unit == "y" else 1), zone)
        days = timedelta(days=count * (7 if unit == "w" else 1))
        return _us(_moment(now_us, zone) - days)  # the same time of day, whatever the clock did
    except (ValueError, OverflowError) as error:
        raise ParameterError("Query parameter last reaches before the year 1") from error


def _shifted(us: int, months: int, zone: ZoneInfo) -> int:
    """Some months later, at the same time of day; the last day where there is no such day."""
    try:
        moment = _moment(us, zone)
        years, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
        day = min(moment.day, monthrange(years, month + 1)[1])
        return _us(moment.replace(year=years, month=month + 1, day=day))
    except (ValueError, OverflowError) as error:
        raise ParameterError("The range to compare with begins before the year 1") from error


def _first_us(day: date, zone: ZoneInfo | None) -> int:
    return _us(datetime(day.year, day.month, day.day, tzinfo=zone or UTC))


def _moment(us: int, zone: ZoneInfo | None) -> datetime:
    return (_EPOCH + timedelta(microseconds=us)).astimezone(zone or UTC)


def _us(moment: datetime) -> int:
    return (moment.astimezone(UTC) - _EPOCH) // _MICROSECOND


def _printed(us: int, zone: ZoneInfo | None = None) -> Instant:
    """As the contract prints it: whole seconds, and Z for UTC."""
    try:
        text = _moment(us, zone).isoformat(timespec="seconds")
    except (ValueError, OverflowError) as error:
        raise ParameterError("A time lies outside the years 1 to 9999") from error
    return Instant(us, text.replace("+00:00", "Z"))


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())
