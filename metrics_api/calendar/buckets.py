"""Names of the minutes, hours, days, weeks and months of a zone.

`dimensions.bucket` makes the same names in SQL.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from metrics_api.calendar.moments import Unit, moment_of, us_of
from metrics_api.calendar.zones import UTC_NAME, zone_of
from metrics_api.errors import ParameterError

BUCKETS_MAX = 10_000
"""Maximum number of buckets that `fill=true` makes in one series."""

_SHOWN = {"minute": "%Y-%m-%d %H:%M:00", "hour": "%Y-%m-%d %H:00:00", "day": "%Y-%m-%d"}
_SHOWN |= {"week": "%Y-%m-%d", "month": "%Y-%m"}


def buckets(unit: Unit, start_us: int, end_us: int, zone_name: str) -> Iterator[str]:
    """Yield the names of all buckets of a range in order.

    Args:
        unit: length of a bucket.
        start_us: an instant in the first bucket, in µs since 1970.
        end_us: an instant in the last bucket, in µs since 1970.
        zone_name: zone in which buckets begin.

    Raises:
        ParameterError: There are more than `BUCKETS_MAX` buckets.
    """
    zone = zone_of(zone_name)
    shown = _SHOWN[unit] + ("%z" if zone_name != UTC_NAME and unit in ("minute", "hour") else "")
    # No bucket is shorter than a step: offsets are whole quarters of an hour, and a clock that is
    # set can cut an hour short.
    step_us = {"minute": 60_000_000, "hour": 900_000_000}.get(unit, 12 * 3_600_000_000)
    if (end_us - start_us) // step_us > BUCKETS_MAX * 4:
        raise _too_many()
    previous, count = None, 0
    for at_us in [
        start_us,
        *range(start_us - start_us % step_us + step_us, end_us, step_us),
        end_us,
    ]:
        moment = moment_of(at_us, zone)
        if unit == "week":
            moment -= timedelta(days=moment.weekday())
        name = moment.strftime(shown)
        if name != previous:
            if count == BUCKETS_MAX:
                raise _too_many()
            yield name
            previous, count = name, count + 1


def bucket_us(name: str, zone_name: str) -> int:
    """Return the first instant of a bucket, in µs since 1970.

    Args:
        name: a name as `buckets` makes it.
        zone_name: zone of the name, unless the name carries an offset.
    """
    moment = datetime.fromisoformat(f"{name}-01" if len(name) == len("2024-01") else name)
    return us_of(moment if moment.tzinfo else moment.replace(tzinfo=zone_of(zone_name)))


def _too_many() -> ParameterError:
    return ParameterError(
        f"Query parameter fill makes {BUCKETS_MAX} buckets at most: ask for a shorter range or"
        " for longer buckets"
    )
