"""The rows of a metrics query, told apart and put in order: the total, groups, and their series."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from metrics_api.calendar.buckets import bucket_us, buckets
from metrics_api.calendar.moments import Unit
from metrics_api.endpoints.endpoint import Rows
from metrics_api.query.dimensions import TIME_UNITS
from metrics_api.query.params import Query


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A row of `build_sql`; the keys of the other group are empty texts."""

    keys: tuple[str, ...]
    bucket: str
    is_other: bool
    count: int
    users: int
    measures: tuple[float | int | None, ...]


SeriesKey = tuple[bool, tuple[str, ...]] | None


@dataclass(slots=True)
class MetricRows:
    """groups: in the order asked for, the other group last; series: in the order of time;
    is_truncated: there are groups beyond the limit."""

    total: MetricRow
    groups: list[MetricRow] = field(default_factory=list)
    series: dict[SeriesKey, list[MetricRow]] = field(default_factory=dict)
    is_truncated: bool = False

    def series_of(self, line: MetricRow | None) -> list[MetricRow]:
        """The points of a group, or of the total for None."""
        return self.series.get(_series_key(line), [])


def _series_key(line: MetricRow | None) -> SeriesKey:
    return None if line is None else (line.is_other, line.keys)


def read_metric_rows(query: Query, rows: Rows) -> MetricRows:
    """Raises ParameterError when the gaps to fill are too many."""
    keys = len(query.groups)
    lines = MetricRows(_empty(query, (), ""))
    for is_group, is_bucket, is_other, *rest in rows:
        count, users, *measures = rest[keys + 1 :]
        line = MetricRow(
            tuple(rest[:keys]) if is_group else (),
            rest[keys],
            bool(is_group and is_other),
            count,
            users,
            tuple(m.read(found) for m, found in zip(query.measures, measures, strict=True)),
        )
        if is_bucket:
            lines.series.setdefault(_series_key(line if is_group else None), []).append(line)
        elif is_group:
            lines.groups.append(line)
        else:
            lines.total = line
    _order(query, lines)
    if query.fill:
        _fill(query, lines)
    return lines


def _empty(
    query: Query, keys: tuple[str, ...], bucket: str, *, is_other: bool = False
) -> MetricRow:
    return MetricRow(keys, bucket, is_other, 0, 0, (None,) * len(query.measures))


def _order(query: Query, lines: MetricRows) -> None:
    is_time = [group.kind == "time" for group in query.groups]

    def by_key(line: MetricRow) -> list[Any]:
        return [_time(k) if t else k for k, t in zip(line.keys, is_time, strict=True)]

    lines.groups.sort(key=by_key, reverse=query.order == "key" and query.descending)
    if query.order != "key":
        position = [measure.name for measure in query.measures]
        sign = -1 if query.descending else 1

        def by_number(line: MetricRow) -> tuple[bool, float]:
            match query.order:
                case "total_count":
                    number: float | None = line.count
                case "unique_user_count":
                    number = line.users
                case name:
                    number = line.measures[position.index(name)]
            return (number is None, sign * (number or 0))

        lines.groups.sort(key=by_number)
    others = [line for line in lines.groups if line.is_other]
    lines.groups = [line for line in lines.groups if not line.is_other]
    lines.groups += others if query.other else []
    lines.is_truncated = bool(others)
    for points in lines.series.values():
        points.sort(key=lambda point: _time(point.bucket))


def _time(bucket: str) -> str | datetime:
    """What buckets of one zone are ordered by: names alone are not in order where a clock is set
    back."""
    return datetime.fromisoformat(bucket) if len(bucket) > len("2024-01-15 10:00:00") else bucket


def _fill(query: Query, lines: MetricRows) -> None:
    """Buckets without events become points, or groups, of nothing."""
    if query.interval:
        names = _names(query, query.interval, [p.bucket for p in lines.series_of(None)])
        for line in [None, *lines.groups]:
            keys, is_other = (line.keys, line.is_other) if line is not None else ((), False)
            points = {point.bucket: point for point in lines.series_of(line)}
            lines.series[_series_key(line)] = [
                points.get(name) or _empty(query, keys, name, is_other=is_other) for name in names
            ]
    elif query.order == "key" and not any(line.is_other for line in lines.groups):
        # Of a part of the buckets, or in another order, there are no gaps.
        [group] = query.groups
        groups = {line.keys[0]: line for line in lines.groups}
        names = _names(query, TIME_UNITS[group.name], list(groups))
        lines.groups = [groups.get(name) or _empty(query, (name,), "") for name in names]
        if query.descending:
            lines.groups.reverse()


def _names(query: Query, unit: Unit, found: list[str]) -> list[str]:
    """All buckets of the range, or from the first one found where it has no start."""
    bounds = query.selection.range
    if bounds.start is not None:
        start_us = max(bounds.start.us, 0)
    elif found:
        start_us = bucket_us(min(found, key=_time), bounds.zone)
    else:
        return []
    names = dict.fromkeys(buckets(unit, start_us, bounds.end.us, bounds.zone))
    return sorted(names | dict.fromkeys(found), key=_time)
