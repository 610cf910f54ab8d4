"""GET /events/metrics and /events/top: counts, unique users and measures, grouped and over time."""

from functools import partial
from typing import Any

from metrics_api.endpoints.endpoint import QueryPlan, QueryResult, Rows
from metrics_api.endpoints.metrics_rows import MetricRow, MetricRows, read_metric_rows
from metrics_api.endpoints.metrics_sql import build_sql
from metrics_api.query.params import Query, parse_query, parse_top
from metrics_api.query.query_string import Parameters
from metrics_api.query.statement import Kind

METRICS_COLUMNS: dict[str, Kind] = {"total_count": "integer", "unique_user_count": "integer"}


def plan_metrics(parameters: Parameters, now_us: int) -> QueryPlan:
    """Raises ParameterError."""
    query = parse_query(parameters, now_us=now_us)
    compared = query.compared()
    queries = [query] if compared is None else [query, compared]
    return QueryPlan(
        [build_sql(query) for query in queries],
        partial(_result_metrics, queries),
        query.selection.range.end.us,
    )


def plan_top(parameters: Parameters, now_us: int) -> QueryPlan:
    """Raises ParameterError."""
    query = parse_top(parameters, now_us=now_us)
    return QueryPlan([build_sql(query)], partial(_result_top, query), query.selection.range.end.us)


def _result_metrics(queries: list[Query], results: list[Rows]) -> QueryResult:
    query = queries[0]
    found = [read_metric_rows(query, rows) for query, rows in zip(queries, results, strict=True)]
    document = _document(query, found[0])
    if len(found) > 1:
        document["compare"] = _document(queries[1], found[1])
    return _with_table(query, document, found[0])


def _result_top(query: Query, results: list[Rows]) -> QueryResult:
    lines = read_metric_rows(query, results[0])
    [dimension] = query.groups
    document = {
        "dimension": dimension.name,
        **query.selection.range.document(),
        **_numbers(query, lines.total),
        "top": [{"key": line.keys[0], **_numbers(query, line)} for line in lines.groups],
        "truncated": lines.is_truncated,
    }
    return _with_table(query, document, lines)


def _document(query: Query, lines: MetricRows) -> dict[str, Any]:
    names = query.selection.names
    document: dict[str, Any] = {"event_name": ", ".join(names)}
    if len(names) > 1:
        document["event_names"] = list(names)
    document |= {**query.selection.range.document(), **_numbers(query, lines.total)}
    if query.approximate:
        document["approximate"] = True
    if query.interval:
        document["series"] = _series(query, lines.series_of(None))
    if lines.groups:
        document["grouped_metrics"] = [_group(query, lines, line) for line in lines.groups]
        document["truncated"] = lines.is_truncated
    return document


def _group(query: Query, lines: MetricRows, line: MetricRow) -> dict[str, Any]:
    names = [group.name for group in query.groups]
    group: dict[str, Any] = {"group_key": "other" if line.is_other else " / ".join(line.keys)}
    if len(names) > 1:
        group["group"] = None if line.is_other else dict(zip(names, line.keys, strict=True))
    if line.is_other:
        group["other"] = True
    group |= _numbers(query, line)
    if query.interval:
        group["series"] = _series(query, lines.series_of(line))
    return group


def _series(query: Query, points: list[MetricRow]) -> list[dict[str, Any]]:
    return [{"time": point.bucket, **_numbers(query, point)} for point in points]


def _numbers(query: Query, line: MetricRow) -> dict[str, Any]:
    numbers: dict[str, Any] = {"total_count": line.count, "unique_user_count": line.users}
    if query.measures:
        names = [measure.name for measure in query.measures]
        numbers["measures"] = dict(zip(names, line.measures, strict=True))
    return numbers


def _with_table(query: Query, document: dict[str, Any], lines: MetricRows) -> QueryResult:
    """The table has the points where there is an interval, else the groups, else the total."""
    columns: dict[str, Kind] = {group.name: "text" for group in query.groups}
    if query.groups:
        columns["other"] = "integer"
    if query.interval:
        columns["time"] = "text"
    columns |= METRICS_COLUMNS
    columns |= {measure.name: measure.kind for measure in query.measures}
    shown = lines.groups if query.groups else [lines.total]
    if query.interval:
        shown = [
            point for line in shown for point in lines.series_of(line if query.groups else None)
        ]
    rows = []
    for line in shown:
        row: list[Any] = [*line.keys, *([int(line.is_other)] if query.groups else [])]
        row += [line.bucket] if query.interval else []
        rows.append([*row, line.count, line.users, *line.measures])
    return QueryResult(document, columns, rows)
