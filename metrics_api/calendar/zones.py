"""Time zones, all from one database: the package tzdata that is pinned.

The database of the system and that of storage may be older or newer, and are never asked. Storage
gets the changes of a zone's offset as numbers, so that its answers follow the same rules as the
bounds and the names of buckets, whatever version it is.
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
"""The end of 2299: no event is later."""
_TEN_YEARS_S = 3_652 * 86_400
_SAMPLE_S = 7 * 86_400
"""A rule that goes on for ever changes the offset for longer than this."""


@dataclass(frozen=True, slots=True)
class Offsets:
    """How far local time is ahead of UTC. starts_s: Unix times from which each one holds, the first
    of which also holds before; seconds: ahead of UTC; texts: as in `+0200`."""

    starts_s: tuple[int, ...]
    seconds: tuple[int, ...]
    texts: tuple[str, ...]


@cache
def zone_names() -> frozenset[str]:
    """All that there are."""
    return frozenset((files("tzdata") / "zones").read_text().split())


@cache
def zone_of(name: str) -> ZoneInfo:
    """name: one of `zone_names`."""
    return ZoneInfo.from_file(BytesIO(_file(name)), key=name)


def offsets_between(name: str, start_s: int, end_s: int) -> Offsets:
    """The offsets of a zone from start_s to end_s, both inclusive Unix times."""
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
    """Unix times at which the offset changes, after one for what was before: 0."""
    listed, has_rule = _listed(_file(name))
    times = {0, *(time for time in listed if time > 0)}  # of the first offset, and of the others
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
    """The first second with the offset of high_s, where there is one change between."""
    after = _seconds(_local(name, high_s))
    while high_s - low_s > 1:
        middle_s = (low_s + high_s) // 2
        if _seconds(_local(name, middle_s)) == after:
            high_s = middle_s
        else:
            low_s = middle_s
    return high_s


def _listed(data: bytes) -> tuple[tuple[int, ...], bool]:
    """(the changes that a TZif file lists, whether a rule goes on after them), see RFC 9636."""
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
