"""Time zones from one database: the pinned package tzdata.

The databases of the system and of ClickHouse are not used, because they may be older or newer.
ClickHouse gets the offsets of a zone as numbers. So its results follow the same rules as the bounds
of a range and the names of buckets, whatever its version.
"""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from importlib.resources import files
from io import BytesIO
from struct import unpack
from zoneinfo import ZoneInfo

UTC_NAME = "UTC"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_S = 10_413_792_000
"""The end of 2299. No event is later."""
_TEN_YEARS_S = 3_652 * 86_400
_SAMPLE_S = 7 * 86_400
"""Sampling interval. A rule that repeats every year keeps each offset for longer than this."""


@dataclass(frozen=True, slots=True)
class Offsets:
    """Offsets of a zone from UTC, in the order of time.

    Attributes:
        starts_s: Unix time from which each offset holds. The first offset also holds before it.
        seconds: how far local time is ahead of UTC.
        texts: the same as `+0200`.
    """

    starts_s: tuple[int, ...]
    seconds: tuple[int, ...]
    texts: tuple[str, ...]


@cache
def zone_names() -> frozenset[str]:
    """Return the names of all zones in the database."""
    return frozenset((files("tzdata") / "zones").read_text().split())


@cache
def zone_of(name: str) -> ZoneInfo:
    """Return a zone by its name, which must be one of `zone_names`."""
    return ZoneInfo.from_file(BytesIO(_file(name)), key=name)


def offsets_between(name: str, start_s: int, end_s: int) -> Offsets:
    """Return the offsets of a zone in a range.

    Args:
        name: one of `zone_names`.
        start_s: first Unix time.
        end_s: last Unix time, inclusive.
    """
    # Whole decades, so that `_changes` is called with few different values and its cache hits.
    until_s = min(max(end_s, 0) // _TEN_YEARS_S + 1, _LAST_S // _TEN_YEARS_S + 1) * _TEN_YEARS_S
    starts = _changes(name, until_s)
    first = max(bisect_right(starts, start_s) - 1, 0)
    last = max(bisect_right(starts, end_s), first + 1)
    starts = starts[first:last]
    moments = [_local(name, start) for start in starts]
    return Offsets(
        starts,
        tuple(_seconds(moment) for moment in moments),
        tuple(moment.strftime("%z") for moment in moments),
    )


@lru_cache(maxsize=64)
def _changes(name: str, until_s: int) -> tuple[int, ...]:
    """Return the Unix times at which the offset changes before `until_s`; the first one is 0."""
    listed, has_rule = _listed(_file(name))
    times = {0, *(time for time in listed if time > 0)}  # 0 stands for the offset in 1970
    if has_rule:
        times |= {
            _change_between(name, time, time + _SAMPLE_S)
            for time in range(max(times), until_s, _SAMPLE_S)
            if _seconds(_local(name, time)) != _seconds(_local(name, time + _SAMPLE_S))
        }
    changes: list[int] = []
    for time in sorted(times):
        offset = _seconds(_local(name, time))
        if not changes or offset != _seconds(_local(name, changes[-1])):
            changes.append(time)
    return tuple(changes)


def _change_between(name: str, low_s: int, high_s: int) -> int:
    """Return the first second with the offset of `high_s`. There is one change in between."""
    after = _seconds(_local(name, high_s))
    while high_s - low_s > 1:
        middle_s = (low_s + high_s) // 2
        if _seconds(_local(name, middle_s)) == after:
            high_s = middle_s
        else:
            low_s = middle_s
    return high_s


def _listed(data: bytes) -> tuple[tuple[int, ...], bool]:
    """Read a TZif file (RFC 9636).

    Returns:
        The Unix times of the changes that the file lists, and whether a rule continues after them.
    """
    counts = unpack(">6l", data[20:44])
    is_ut, is_std, leaps, times, kinds, letters = counts
    # The first block has 32-bit times; the second one is the same with 64 bits.
    second = 44 + times * 5 + kinds * 6 + letters + leaps * 8 + is_std + is_ut
    times = unpack(">6l", data[second + 20 : second + 44])[3]
    begin = second + 44
    rule = data.rstrip(b"\n").rpartition(b"\n")[2]
    return unpack(f">{times}q", data[begin : begin + 8 * times]), b"," in rule


def _file(name: str) -> bytes:
    return files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()


def _local(name: str, time_s: int) -> datetime:
    return (_EPOCH + timedelta(seconds=time_s)).astimezone(zone_of(name))


def _seconds(moment: datetime) -> int:
    offset = moment.utcoffset()
    assert offset is not None
    return offset // timedelta(seconds=1)
