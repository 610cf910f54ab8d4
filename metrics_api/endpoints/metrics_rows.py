"""Sort the rows of a metrics query into the total, the groups, and their series.

`read_metric_rows` also puts the groups in order and fills gaps in time.
"""

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
    """One row of `build_sql`.

    Attributes:
        keys: keys of the group, one for each dimension. The total has none, and the keys of the
            other group are empty texts.
        bucket: name of the time bucket, empty if the row is not a point of a series.
        is_other: whether the row belongs to the other group.
        count: number of events.
        users: number of unique users.
        measures: measures in the order of the query. One is None if no event has a number.
    """

    keys: tuple[str, ...]
    bucket: str
    is_other: bool
    count: int
    users: int
    measures: tuple[float | int | None, ...]


SeriesKey = tuple[bool, tuple[str, ...]] | None
"""(is the other group, keys), None for the series of the total."""


@dataclass(slots=True)
class MetricRows:
    """The rows of one metrics query.

    Attributes:
        total: over all events.
        groups: groups in the requested order, the other group last.
        series: points of the total and of each group, in the order of time.
        is_truncated: whether there are groups beyond the limit.
    """

    total: MetricRow
    groups: list[MetricRow] = field(default_factory=list)
    series: dict[SeriesKey, list[MetricRow]] = field(default_factory=dict)
    is_truncated: bool = False

    def series_of(self, row: MetricRow | None) -> list[MetricRow]:
        """Return the points of a group, or those of the total for None."""
        return self.series.get(_series_key(row), [])


def _series_key(row: MetricRow | None) -> SeriesKey:
    return None if row is None else (row.is_other, row.keys)


def read_metric_rows(query: Query, rows: Rows) -> MetricRows:
    """Read the rows of `build_sql`.

    Args:
        query: the query that the rows come from.
        rows: rows in any order.

    Raises:
        ParameterError: Filling the gaps would make too many buckets.
    """
    key_count = len(query.groups)
    metric_rows = MetricRows(_empty(query, (), ""))
    for is_group, is_bucket, is_other, *rest in rows:
        count, users, *measures = rest[key_count + 1 :]
        row = MetricRow(
            tuple(rest[:key_count]) if is_group else (),
            rest[key_count],
            bool(is_group and is_other),
            count,
            users,
            tuple(m.read(value) for m, value in zip(query.measures, measures, strict=True)),
        )
        if is_bucket:
            metric_rows.series.setdefault(_series_key(row if is_group else None), []).append(row)
        elif is_group:
            metric_rows.groups.append(row)
        else:
            metric_rows.total = row
    _order(query, metric_rows)
    if query.fill:
        _fill(query, metric_rows)
    return metric_rows


def _empty(
    query: Query, keys: tuple[str, ...], bucket: str, *, is_other: bool = False
) -> MetricRow:
    return MetricRow(keys, bucket, is_other, 0, 0, (None,) * len(query.measures))


def _order(query: Query, metric_rows: MetricRows) -> None:
    # The other group has no keys to be sorted by.
    others = [row for row in metric_rows.groups if row.is_other]
    metric_rows.groups = [row for row in metric_rows.groups if not row.is_other]
    is_time = [group.kind == "time" for group in query.groups]

    def by_key(row: MetricRow) -> list[Any]:
        return [_time(k) if t else k for k, t in zip(row.keys, is_time, strict=True)]

    metric_rows.groups.sort(key=by_key, reverse=query.order == "key" and query.descending)
    if query.order != "key":
        position = [measure.name for measure in query.measures]
        sign = -1 if query.descending else 1

        def by_number(row: MetricRow) -> tuple[bool, float]:
            match query.order:
                case "total_count":
                    number: float | None = row.count
                case "unique_user_count":
                    number = row.users
                case name:
                    number = row.measures[position.index(name)]
            return (number is None, sign * (number or 0))

        metric_rows.groups.sort(key=by_number)
    metric_rows.groups += others if query.other else []
    metric_rows.is_truncated = bool(others)
    for points in metric_rows.series.values():
        points.sort(key=lambda point: _time(point.bucket))


def _time(bucket: str) -> str | datetime:
    """Return the sort key of a bucket's name.

    Where a clock is set back, an hour occurs twice and names are not in the order of time. Such
    names carry an offset and are compared as times.
    """
    return datetime.fromisoformat(bucket) if len(bucket) > len("2024-01-15 10:00:00") else bucket


def _fill(query: Query, metric_rows: MetricRows) -> None:
    """Add a point, or a group if groups are times, for each bucket that has no event."""
    if query.interval:
        names = _names(query, query.interval, [p.bucket for p in metric_rows.series_of(None)])
        for row in [None, *metric_rows.groups]:
            keys, is_other = (row.keys, row.is_other) if row is not None else ((), False)
            points = {point.bucket: point for point in metric_rows.series_of(row)}
            metric_rows.series[_series_key(row)] = [
                points.get(name) or _empty(query, keys, name, is_other=is_other) for name in names
            ]
    elif query.order == "key" and not metric_rows.is_truncated:
        # Only groups in the order of time have gaps. If a limit cut some off, nothing is filled.
        [group] = query.groups
        groups = {row.keys[0]: row for row in metric_rows.groups}
        names = _names(query, TIME_UNITS[group.name], list(groups))
        metric_rows.groups = [groups.get(name) or _empty(query, (name,), "") for name in names]
        if query.descending:
            metric_rows.groups.reverse()


def _names(query: Query, unit: Unit, found: list[str]) -> list[str]:
    """Return the names of all buckets of the range, in the order of time.

    If the range has no start, the first bucket is the earliest one in `found`.
    """
    bounds = query.selection.range
    if bounds.start is not None:
        start_us = max(bounds.start.us, 0)
    elif found:
        start_us = bucket_us(min(found, key=_time), bounds.zone)
    else:
        return []
    names = dict.fromkeys(buckets(unit, start_us, bounds.end.us, bounds.zone))
    return sorted(names | dict.fromkeys(found), key=_time)
