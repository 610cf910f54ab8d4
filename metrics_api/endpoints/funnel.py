"""GET /events/funnel: how many users go through a list of steps, in order and in time."""

from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from metrics_api.endpoints.endpoint import QueryPlan, QueryResult, Rows
from metrics_api.errors import ParameterError
from metrics_api.query.dimensions import Dimension
from metrics_api.query.filters import Filter, parse_filters
from metrics_api.query.params import (
    LIMIT_MAX,
    Selection,
    parse_groups,
    parse_selection,
    refuse_items,
)
from metrics_api.query.query_string import Parameters
from metrics_api.query.selection import select_rows
from metrics_api.query.statement import Bindings, Statement
from metrics_api.query.times import parse_duration_us

STEPS_MIN, STEPS_MAX = 2, 16
WINDOW_DEFAULT = "1d"
GROUPS_DEFAULT = 25


@dataclass(frozen=True, slots=True)
class Step:
    """An event by its name, and filters of its own; text: as asked for."""

    text: str
    name: str
    filters: tuple[Filter, ...]

    def condition(self, bindings: Bindings) -> str:
        conditions = [f"name = {bindings.text(self.name)}"]
        conditions += [filter_.condition(bindings) for filter_ in self.filters]
        return " AND ".join(conditions)


@dataclass(frozen=True, slots=True)
class Funnel:
    """window_us: from the first step to the last; group: where the first step was taken."""

    selection: Selection
    steps: tuple[Step, ...]
    window_us: int
    group: Dimension | None
    limit: int


def plan_funnel(parameters: Parameters, now_us: int) -> QueryPlan:
    """Raises ParameterError."""
    funnel = parse_funnel(parameters, now_us=now_us)
    return QueryPlan([funnel_sql(funnel)], partial(_result, funnel), funnel.selection.range.end.us)


def parse_funnel(parameters: Parameters, *, now_us: int) -> Funnel:
    """Raises ParameterError."""
    steps = tuple(_step(text) for text in parameters.many("step"))
    if not STEPS_MIN <= len(steps) <= STEPS_MAX:
        raise ParameterError(
            f"Query parameter step must be given {STEPS_MIN} to {STEPS_MAX} times, each with the"
            " name of an event"
        )
    window_us = parse_duration_us("window", parameters.one("window") or WINDOW_DEFAULT)
    groups = parse_groups(parameters)
    if len(groups) > 1 or any(group.kind in ("time", "item") for group in groups):
        raise ParameterError(
            "Query parameter group_by: a funnel takes one dimension, no time and no item"
        )
    limit = parameters.integer("limit", low=1, high=LIMIT_MAX) or GROUPS_DEFAULT
    selection = parse_selection(parameters, now_us=now_us)
    if selection.names:
        raise ParameterError("Query parameter event_name: a funnel has its steps instead")
    names = tuple(dict.fromkeys(step.name for step in steps))
    return Funnel(
        Selection(names, selection.range, selection.filters),
        steps,
        window_us,
        groups[0] if groups else None,
        limit,
    )


def _step(text: str) -> Step:
    """`purchase`, or `purchase?param.value>=50&os=iOS`."""
    name, _, query = text.partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=20)
    except ValueError as error:
        raise ParameterError("Query parameter step has too many filters") from error
    filters = parse_filters(pairs, ("event_name",))
    refuse_items(filters)
    return Step(text, unquote_plus(name) if "%" in name else name, filters)


def funnel_sql(funnel: Funnel) -> Statement:
    """Rows are (group, steps gone through, users), the group '' without one; without those who
    took no step.

    A user belongs to the group of their first event that is the first step.
    """
    bindings = Bindings()
    count = len(funnel.steps)
    conditions = [step.condition(bindings) for step in funnel.steps]
    mask = " + ".join(f"{1 << number} * ({text})" for number, text in enumerate(conditions))
    group = funnel.group.text(bindings) if funnel.group is not None else "''"
    columns = f"toUnixTimestamp64Micro(event_time) AS time, toUInt32({mask}) AS mask, {group} AS g"
    rows = select_rows(funnel.selection, columns, bindings)
    # Not windowFunnel, which takes one event for two steps that are the same. Of each step is known
    # when the latest way to it began; an event that is the step takes the way to the one before.
    # Of events at the same time, those of earlier steps come first.
    window = bindings.integer(funnel.window_us)
    began = (
        "arrayFold((began, event) -> arrayMap((own, before, step) ->"
        " if(bitTest(event.3, step) AND before >= 0"
        f" AND event.1 - before <= {window}, before, own),"
        f" began, arrayPushFront(arrayPopBack(began), event.1), range({count})),"
        " arraySort(groupArray((time, bitAnd(mask, -mask), mask))),"
        f" arrayWithConstant({count}, toInt64(-1)))"
    )
    users = (
        f"SELECT argMinIf(g, time, bitTest(mask, 0)) AS grp, arrayCount(at -> at >= 0, {began})"
        f" AS level FROM ({rows}) WHERE user_hash != 0 AND mask != 0 GROUP BY user_hash"
    )
    return Statement(
        f"SELECT grp, level, count() FROM ({users}) WHERE level > 0 GROUP BY grp, level",
        bindings.values,
    )


def _result(funnel: Funnel, results: list[Rows]) -> QueryResult:
    counts: dict[str, list[int]] = {}
    for group, level, users in results[0]:
        reached = counts.setdefault(group, [0] * len(funnel.steps))
        for step in range(level):
            reached[step] += users
    total = [sum(column) for column in zip(*counts.values(), strict=True)]
    total = total or [0] * len(funnel.steps)
    document: dict[str, Any] = {
        **funnel.selection.range.document(),
        "window_seconds": funnel.window_us / 1_000_000,
        "steps": _steps(funnel, total),
    }
    shown = [("", total)]
    if funnel.group is not None:
        ordered = sorted(counts.items(), key=lambda entry: (-entry[1][0], entry[0]))
        shown = ordered[: funnel.limit]
        document["grouped_steps"] = [
            {"group_key": group, "steps": _steps(funnel, reached)} for group, reached in shown
        ]
        document["truncated"] = len(shown) < len(ordered)
    rows = [
        [group, step.text, number + 1, reached[number]]
        for group, reached in shown
        for number, step in enumerate(funnel.steps)
    ]
    return QueryResult(
        document,
        {"group_key": "text", "step": "text", "number": "integer", "users": "integer"},
        rows,
    )


def _steps(funnel: Funnel, reached: list[int]) -> list[dict[str, Any]]:
    """conversion: of those who took the first step, and of those who took the step before."""
    return [
        {
            "step": step.text,
            "users": users,
            "conversion": users / reached[0] if reached[0] else None,
            "conversion_from_previous": users / before if before else None,
        }
        for step, users, before in zip(
            funnel.steps, reached, [reached[0], *reached[:-1]], strict=True
        )
    ]
