"""What every question is made of: what storage is asked, and how its answers become a reply."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from metrics_api.query.query_string import Parameters
from metrics_api.query.statement import Statement

Rows = Sequence[Sequence[Any]]
Kind = Literal["text", "integer", "number"]


@dataclass(frozen=True, slots=True)
class Answer:
    """document: the reply as JSON; columns and rows: the same as a table, for CSV and Arrow."""

    document: dict[str, Any]
    columns: Mapping[str, Kind]
    rows: Rows


@dataclass(frozen=True, slots=True)
class Plan:
    """answer: makes the reply of the rows of each statement; end_us: the last instant of the range
    that was asked for, in µs since 1970."""

    statements: Sequence[Statement]
    answer: Callable[[Sequence[Rows]], Answer]
    end_us: int


Question = Callable[[Parameters, int], Plan]
"""(parameters, now in µs) to a plan. Raises ParameterError."""
