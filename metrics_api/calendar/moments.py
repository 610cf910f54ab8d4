"""Conversions between instants in µs since 1970 and local times, days, weeks and months."""

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal, get_args

Unit = Literal["minute", "hour", "day", "week", "month"]
UNITS: tuple[Unit, ...] = get_args(Unit)
"""Ordered from the shortest to the longest."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def moment_of(us: int, zone: tzinfo = UTC) -> datetime:
    """Return an instant as a datetime.

    Args:
        us: µs since 1970.
        zone: zone of the result.

    Raises:
        OverflowError: The instant lies outside the years 1 to 9999.
        ValueError: The same.
    """
    return (_EPOCH + timedelta(microseconds=us)).astimezone(zone)


def us_of(moment: datetime) -> int:
    """Return an aware datetime in µs since 1970."""
    return (moment.astimezone(UTC) - _EPOCH) // _MICROSECOND


def first_us(day: date, zone: tzinfo = UTC) -> int:
    """Return the first instant of a day, in µs since 1970.

    Where a clock is set forward at midnight, that is 01:00.
    """
    return us_of(datetime(day.year, day.month, day.day, tzinfo=zone))


def months_before(day: date, months: int) -> date:
    """Return the same day some months earlier, or that month's last day if it is shorter.

    Args:
        day: the day to count from.
        months: number of months to go back; negative to go forward.

    Raises:
        ValueError: The result lies before the year 1.
    """
    years, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return date(years, month + 1, min(day.day, monthrange(years, month + 1)[1]))


def next_bucket_us(unit: Unit, us: int, zone: tzinfo) -> int:
    """Return the first instant of the minute, hour, day, week or month after the one of `us`."""
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
