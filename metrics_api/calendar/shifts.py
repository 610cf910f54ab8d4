"""Ranges moved back in time, for comparisons.

A range of whole days or months moves by days or months. Any other range moves by its length in µs.
"""

from dataclasses import dataclass
from datetime import date, timedelta, tzinfo

from metrics_api.calendar.moments import first_us, moment_of, months_before, us_of

_SECOND_US = 1_000_000
_YEAR = 12


@dataclass(frozen=True, slots=True)
class Step:
    """A distance in time: either months and days of the calendar, or µs.

    Attributes:
        months: calendar months.
        days: calendar days, added to the months.
        us: µs; if not 0, months and days are ignored.
    """

    months: int = 0
    days: int = 0
    us: int = 0

    def back(self, us: int, zone: tzinfo) -> int:
        """Return the instant that lies one step before `us`.

        A calendar step keeps the local time of day, even if the clock was set in between. The first
        instant of a day becomes the first instant of the earlier day.

        Raises:
            ValueError: The result lies before the year 1.
            OverflowError: The same.
        """
        if self.us:
            return us - self.us
        moment = moment_of(us, zone)
        day = months_before(moment.date(), self.months) - timedelta(days=self.days)
        if us == first_us(moment.date(), zone):
            return first_us(day, zone)
        return us_of(moment.replace(year=day.year, month=day.month, day=day.day))


Bounds = tuple[int, int]
"""First and last instant, both inclusive, in µs since 1970."""


def previous(start_us: int, end_us: int, zone: tzinfo, step: Step | None) -> Bounds:
    """Return the range to compare with when a client asks for the previous one.

    A range of whole months goes back by as many months, and one of whole days by as many days. Any
    other range goes back by its length.

    Args:
        start_us: first instant, in µs since 1970.
        end_us: last instant, in µs since 1970.
        zone: zone of days and months.
        step: length of a range that ends now, as `last` gave it; the range goes back by it. None
            for a range that was given by its bounds.
    """
    if step is not None:
        return step.back(start_us, zone), min(step.back(end_us, zone), start_us - 1)
    days = _whole_days(start_us, end_us, zone)
    if days is None:
        return start_us - (end_us - start_us) - 1, start_us - 1
    first, after = days
    if _are_months(first, after):
        months = (after.year - first.year) * 12 + after.month - first.month
        return first_us(months_before(first, months), zone), start_us - 1
    return first_us(first - (after - first), zone), start_us - 1


def year_before(start_us: int, end_us: int, zone: tzinfo) -> Bounds:
    """Return the same range a year earlier.

    The 29th of February becomes the 28th. A whole February becomes a whole February.
    """
    days = _whole_days(start_us, end_us, zone)
    if days is None:
        year = Step(months=_YEAR)
        return year.back(start_us, zone), year.back(end_us, zone)
    first, after = days
    if _are_months(first, after):
        after = months_before(after, _YEAR)
    else:
        after = months_before(after - timedelta(days=1), _YEAR) + timedelta(days=1)
    return first_us(months_before(first, _YEAR), zone), first_us(after, zone) - 1


def _whole_days(start_us: int, end_us: int, zone: tzinfo) -> tuple[date, date] | None:
    """Return (the first day, the day after the last), or None if the range has no whole days.

    A day counts as whole if the range ends anywhere in its last second.
    """
    first, last = moment_of(start_us, zone).date(), moment_of(end_us, zone).date()
    after = last + timedelta(days=1)
    is_whole = start_us == first_us(first, zone) and end_us >= first_us(after, zone) - _SECOND_US
    return (first, after) if is_whole else None


def _are_months(first: date, after: date) -> bool:
    return first.day == 1 and after.day == 1
