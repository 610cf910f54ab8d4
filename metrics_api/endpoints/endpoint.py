"""What every question is made of: what storage is asked, and how its answers become a reply."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metrics_api.query.query_string import Parameters
from metrics_api.query.statement import Kind, Statement

Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class QueryResult:
    """document: the reply as JSON; columns and rows: the same as a table, for CSV and Arrow."""

    document: dict[str, Any]
    columns: Mapping[str, Kind]
    rows: Rows


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """result: makes the result of the rows of each statement; end_us: the last instant of the range
    that was asked for, in µs since 1970."""

    statements: Sequence[Statement]
    result: Callable[[Sequence[Rows]], QueryResult]
    end_us: int


Endpoint = Callable[[Parameters, int], QueryPlan]
"""(parameters, now in µs) to a plan. Raises ParameterError."""
