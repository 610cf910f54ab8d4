"""Ranges moved back in time, to be compared: by the calendar where they are of the calendar."""

from dataclasses import dataclass
from datetime import date, timedelta, tzinfo

from metrics_api.calendar.moments import first_us, moment_of, months_before, us_of

_SECOND_US = 1_000_000
_YEAR = 12


@dataclass(frozen=True, slots=True)
class Step:
    """How far back: months and days of the calendar, or µs by the clock."""

    months: int = 0
    days: int = 0
    us: int = 0

    def back(self, us: int, zone: tzinfo) -> int:
        """The same time of day that much earlier, whatever the clock did; of the first instant of a
        day, the first of the other. Raises ValueError or OverflowError before the year 1."""
        if self.us:
            return us - self.us
        moment = moment_of(us, zone)
        day = months_before(moment.date(), self.months) - timedelta(days=self.days)
        if us == first_us(moment.date(), zone):
            return first_us(day, zone)
        return us_of(moment.replace(year=day.year, month=day.month, day=day.day))


Bounds = tuple[int, int]
"""Both inclusive, in µs since 1970."""


def previous(start_us: int, end_us: int, zone: tzinfo, step: Step | None) -> Bounds:
    """The range before. Whole months, or whole days, go before as many months or days; what ends
    with the present goes back by `step`; any other range by its length."""
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
    """The same a year earlier; the 28th for the 29th of February, and a whole one for a whole."""
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
    """(the first day, the day after the last). The last second of a day is its end."""
    first, last = moment_of(start_us, zone).date(), moment_of(end_us, zone).date()
    after = last + timedelta(days=1)
    is_whole = start_us == first_us(first, zone) and end_us >= first_us(after, zone) - _SECOND_US
    return (first, after) if is_whole else None


def _are_months(first: date, after: date) -> bool:
    return first.day == 1 and after.day == 1
