"""GET /events/funnel: how many users take a list of steps in order, within a time window."""

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
"""Groups that are returned when no limit is given."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a funnel.

    Attributes:
        text: the step as the client wrote it.
        name: name of the event.
        filters: all must match the event.
    """

    text: str
    name: str
    filters: tuple[Filter, ...]

    def condition(self, bindings: Bindings) -> str:
        """Build the SQL condition that an event is this step."""
        conditions = [f"name = {bindings.text(self.name)}"]
        conditions += [filter_.condition(bindings) for filter_ in self.filters]
        return " AND ".join(conditions)


@dataclass(frozen=True, slots=True)
class Funnel:
    """The parsed parameters of the endpoint.

    Attributes:
        selection: events to look at.
        steps: steps in the order in which users must take them.
        window_us: maximum time from the first step to the last, in µs.
        group: dimension to group users by, None for no groups.
        limit: maximum number of groups.
    """

    selection: Selection
    steps: tuple[Step, ...]
    window_us: int
    group: Dimension | None
    limit: int


def plan_funnel(parameters: Parameters, now_us: int) -> QueryPlan:
    """Plan the query of GET /events/funnel.

    Args:
        parameters: query parameters of the request.
        now_us: present time, in µs since 1970.

    Raises:
        ParameterError: A parameter is missing or wrong.
    """
    funnel = parse_funnel(parameters, now_us=now_us)
    return QueryPlan([funnel_sql(funnel)], partial(_result, funnel), funnel.selection.range.end.us)


def parse_funnel(parameters: Parameters, *, now_us: int) -> Funnel:
    """Parse the parameters of the endpoint.

    Raises:
        ParameterError: A parameter is missing or wrong.
    """
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
    """Parse a step such as `purchase` or `purchase?param.value>=50&os=iOS`."""
    name, _, query = text.partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=20)
    except ValueError as error:
        raise ParameterError("Query parameter step has too many filters") from error
    filters = parse_filters(pairs, ("event_name",))
    refuse_items(filters)
    return Step(text, unquote_plus(name) if "%" in name else name, filters)


def funnel_sql(funnel: Funnel) -> Statement:
    """Build the SQL that counts the users of each group by the number of steps they took.

    A user belongs to the group of their earliest event that is the first step.

    Returns:
        A statement with rows (group, number of steps taken, users). The group is '' if there are no
        groups. Users that did not take the first step are left out.
    """
    bindings = Bindings()
    count = len(funnel.steps)
    conditions = [step.condition(bindings) for step in funnel.steps]
    mask = " + ".join(f"{1 << number} * ({text})" for number, text in enumerate(conditions))
    group = funnel.group.text(bindings) if funnel.group is not None else "''"
    columns = f"toUnixTimestamp64Micro(event_time) AS time, toUInt32({mask}) AS mask, {group} AS g"
    rows = select_rows(funnel.selection, columns, bindings)
    # windowFunnel is not used: it counts one event for two steps that are the same.
    # For each step, `began` holds the start time of the latest path that reaches it, or -1. An
    # event that is a step extends the path to the step before it, if the window allows. A first
    # step starts a new path. Of events with the same time, those of earlier steps come first.
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
    """Return each step with its users, as a share of the first step and of the step before."""
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
