"""SQL of the local time of events.

It uses the offsets of `calendar.zones`, never the zones of ClickHouse.
"""

from dataclasses import dataclass

from metrics_api.calendar.zones import UTC_NAME, offsets_between
from metrics_api.query.statement import Bindings
from metrics_api.query.times import Range

_SECOND_US = 1_000_000
_SECOND = f"intDiv(toUnixTimestamp64Micro(event_time), {_SECOND_US})"
_DAY_S = 86_400
_YEAR_2300_S = 10_413_792_000
_CENTURIES_S = 146_097 * _DAY_S
"""400 years. After them the calendar repeats, including weekdays."""


@dataclass(frozen=True, slots=True)
class LocalTime:
    """SQL expressions of the local time of an event.

    Attributes:
        moment: a time whose clock in UTC shows the local time.
        offset: the offset as `+0200`, empty for UTC.
        ahead_s: the offset in seconds, None for UTC.
        may_be_2300: whether local time can reach the year 2300, where the times of ClickHouse end.
    """

    moment: str
    offset: str
    ahead_s: str | None
    may_be_2300: bool

    def named(self, shape: str) -> str:
        """Build the SQL of a bucket's name.

        ClickHouse can't print the year 2300. So the same day of the year 1900 is printed, and the
        first two digits are replaced.

        Args:
            shape: SQL with `{moment}`, whose result begins with the year.
        """
        name = shape.format(moment=self.moment)
        if not self.may_be_2300:
            return name
        early = shape.format(moment=f"addSeconds(event_time, {self.ahead_s} - {_CENTURIES_S})")
        is_late = f"{_SECOND} + {self.ahead_s} >= {_YEAR_2300_S}"
        return f"if({is_late}, concat('23', substring({early}, 3)), {name})"


def local_time(bounds: Range, bindings: Bindings) -> LocalTime:
    """Build the local time of the events in a range.

    Args:
        bounds: the range, and the zone.
        bindings: takes the offsets of the zone.
    """
    if bounds.zone == UTC_NAME:
        return LocalTime("event_time", "''", None, False)
    first_s = bounds.start.us // _SECOND_US if bounds.start is not None else 0
    last_s = bounds.end.us // _SECOND_US
    offsets = offsets_between(bounds.zone, first_s, last_s)
    if len(set(offsets.seconds)) == 1:
        ahead_s, offset = bindings.integer(offsets.seconds[0]), bindings.text(offsets.texts[0])
    else:
        # PERF: 2.5 M rows take 16 ms more than with the zones of ClickHouse. roundDown finds an
        # offset by binary search.
        starts = bindings.integers(offsets.starts_s)
        start = f"roundDown({_SECOND}, {starts})"
        seconds, texts = bindings.integers(offsets.seconds), bindings.texts(offsets.texts)
        ahead_s = f"transform({start}, {starts}, {seconds}, toInt64(0))"
        offset = f"transform({start}, {starts}, {texts}, '')"
    may_be_2300 = last_s >= _YEAR_2300_S - _DAY_S
    return LocalTime(f"addSeconds(event_time, {ahead_s})", offset, ahead_s, may_be_2300)
