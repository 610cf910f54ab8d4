"""The interface of an endpoint.

An endpoint turns parameters into a query plan: the statements for storage, and a function that
makes the query result of their rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metrics_api.query.query_string import Parameters
from metrics_api.query.statement import Kind, Statement

Rows = Sequence[Sequence[Any]]
"""Rows of one statement, as storage returns them."""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The result of a query, as a document and as a table.

    Attributes:
        document: the result as it is rendered to JSON.
        columns: name to kind of each column of the table, for CSV and Arrow.
        rows: rows of the table.
    """

    document: dict[str, Any]
    columns: Mapping[str, Kind]
    rows: Rows


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """What to ask storage, and what to make of its rows.

    Attributes:
        statements: sent to storage in this order.
        result: makes the query result of the rows of each statement.
        end_us: last instant of the requested range, in µs since 1970.
    """

    statements: Sequence[Statement]
    result: Callable[[Sequence[Rows]], QueryResult]
    end_us: int


Endpoint = Callable[[Parameters, int], QueryPlan]
"""(parameters, now in µs since 1970) to query plan.

Raises ParameterError when a parameter is missing or wrong.
"""
