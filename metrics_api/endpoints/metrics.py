"""GET /events/metrics and /events/top: counts, unique users and measures of events.

They can be grouped by dimensions, and split into a series over time.
"""

from functools import partial
from typing import Any

from metrics_api.endpoints.endpoint import QueryPlan, QueryResult, Rows
from metrics_api.endpoints.metrics_rows import MetricRow, MetricRows, read_metric_rows
from metrics_api.endpoints.metrics_sql import build_sql
from metrics_api.query.params import Query, parse_query, parse_top
from metrics_api.query.query_string import Parameters
from metrics_api.query.statement import Kind

METRICS_COLUMNS: dict[str, Kind] = {"total_count": "integer", "unique_user_count": "integer"}
"""Columns of every table, next to groups, times and measures."""


def plan_metrics(parameters: Parameters, now_us: int) -> QueryPlan:
    """Plan the query of GET /events/metrics.

    Args:
        parameters: query parameters of the request.
        now_us: present time, in µs since 1970.

    Raises:
        ParameterError: A parameter is missing or wrong.
    """
    query = parse_query(parameters, now_us=now_us)
    compared = query.compared()
    queries = [query] if compared is None else [query, compared]
    return QueryPlan(
        [build_sql(query) for query in queries],
        partial(_result_metrics, queries),
        query.selection.range.end.us,
    )


def plan_top(parameters: Parameters, now_us: int) -> QueryPlan:
    """Plan the query of GET /events/top.

    Args:
        parameters: query parameters of the request.
        now_us: present time, in µs since 1970.

    Raises:
        ParameterError: A parameter is missing or wrong.
    """
    query = parse_top(parameters, now_us=now_us)
    return QueryPlan([build_sql(query)], partial(_result_top, query), query.selection.range.end.us)


def _result_metrics(queries: list[Query], results: list[Rows]) -> QueryResult:
    query = queries[0]
    read = [read_metric_rows(query, rows) for query, rows in zip(queries, results, strict=True)]
    document = _document(query, read[0])
    if len(read) > 1:
        document["compare"] = _document(queries[1], read[1])
    return _with_table(query, document, read[0])


def _result_top(query: Query, results: list[Rows]) -> QueryResult:
    metric_rows = read_metric_rows(query, results[0])
    [dimension] = query.groups
    document = {
        "dimension": dimension.name,
        **query.selection.range.document(),
        **_numbers(query, metric_rows.total),
        "top": [{"key": row.keys[0], **_numbers(query, row)} for row in metric_rows.groups],
        "truncated": metric_rows.is_truncated,
    }
    return _with_table(query, document, metric_rows)


def _document(query: Query, metric_rows: MetricRows) -> dict[str, Any]:
    names = query.selection.names
    document: dict[str, Any] = {"event_name": ", ".join(names)}
    if len(names) > 1:
        document["event_names"] = list(names)
    document |= {**query.selection.range.document(), **_numbers(query, metric_rows.total)}
    if query.approximate:
        document["approximate"] = True
    if query.interval:
        document["series"] = _series(query, metric_rows.series_of(None))
    if metric_rows.groups:
        document["grouped_metrics"] = [
            _group(query, metric_rows, row) for row in metric_rows.groups
        ]
        document["truncated"] = metric_rows.is_truncated
    return document


def _group(query: Query, metric_rows: MetricRows, row: MetricRow) -> dict[str, Any]:
    names = [group.name for group in query.groups]
    group: dict[str, Any] = {"group_key": "other" if row.is_other else " / ".join(row.keys)}
    if len(names) > 1:
        group["group"] = None if row.is_other else dict(zip(names, row.keys, strict=True))
    if row.is_other:
        group["other"] = True
    group |= _numbers(query, row)
    if query.interval:
        group["series"] = _series(query, metric_rows.series_of(row))
    return group


def _series(query: Query, points: list[MetricRow]) -> list[dict[str, Any]]:
    return [{"time": point.bucket, **_numbers(query, point)} for point in points]


def _numbers(query: Query, row: MetricRow) -> dict[str, Any]:
    numbers: dict[str, Any] = {"total_count": row.count, "unique_user_count": row.users}
    if query.measures:
        names = [measure.name for measure in query.measures]
        numbers["measures"] = dict(zip(names, row.measures, strict=True))
    return numbers


def _with_table(query: Query, document: dict[str, Any], metric_rows: MetricRows) -> QueryResult:
    """Add the table: the points if the query has an interval, else the groups, else the total."""
    columns: dict[str, Kind] = {group.name: "text" for group in query.groups}
    if query.groups:
        columns["other"] = "integer"
    if query.interval:
        columns["time"] = "text"
    columns |= METRICS_COLUMNS
    columns |= {measure.name: measure.kind for measure in query.measures}
    shown = metric_rows.groups if query.groups else [metric_rows.total]
    if query.interval:
        shown = [
            point for row in shown for point in metric_rows.series_of(row if query.groups else None)
        ]
    table = []
    for row in shown:
        values: list[Any] = [*row.keys, *([int(row.is_other)] if query.groups else [])]
        values += [row.bucket] if query.interval else []
        table.append([*values, row.count, row.users, *row.measures])
    return QueryResult(document, columns, table)
