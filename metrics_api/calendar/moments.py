"""Instants in µs since 1970, and the days, weeks and months that they are in."""

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal, get_args

Unit = Literal["minute", "hour", "day", "week", "month"]
UNITS: tuple[Unit, ...] = get_args(Unit)
"""The shortest first."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def moment_of(us: int, zone: tzinfo = UTC) -> datetime:
    """Raises OverflowError or ValueError outside the years 1 to 9999."""
    return (_EPOCH + timedelta(microseconds=us)).astimezone(zone)


def us_of(moment: datetime) -> int:
    return (moment.astimezone(UTC) - _EPOCH) // _MICROSECOND


def first_us(day: date, zone: tzinfo = UTC) -> int:
    """The first instant of a day: 01:00 where a clock is set forward at midnight."""
    return us_of(datetime(day.year, day.month, day.day, tzinfo=zone))


def months_before(day: date, months: int) -> date:
    """The last day of that month where it has no such day. Raises ValueError before the year 1."""
    years, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return date(years, month + 1, min(day.day, monthrange(years, month + 1)[1]))


def next_bucket_us(unit: Unit, us: int, zone: tzinfo) -> int:
    """When the minute, hour, day, week or month after the one of `us` begins."""
    moment = moment_of(us, zone)
    day = moment.date()
    match unit:
        case "minute" | "hour":
            length_us = 60_000_000 if unit == "minute" else 3_600_000_000
            ahead_us = (moment.utcoffset() or timedelta()) // _MICROSECOND
            return ((us + ahead_us) // length_us + 1) * length_us - ahead_us
        case "day":
            return first_us(day + timedelta(days=1), zone)
        case "week":
            return first_us(day + timedelta(days=7 - day.weekday()), zone)
        case "month":
            return first_us(months_before(day.replace(day=1), -1), zone)
