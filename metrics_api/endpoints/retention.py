"""GET /events/retention: how many users came back in later periods.

A cohort is the users whose first event is in the same day, week or month.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any, Literal, get_args

from metrics_api.calendar.moments import moment_of
from metrics_api.calendar.zones import zone_of
from metrics_api.endpoints.endpoint import QueryPlan, QueryResult, Rows
from metrics_api.errors import ParameterError
from metrics_api.query.local_time import local_time
from metrics_api.query.params import Selection, parse_selection
from metrics_api.query.query_string import Parameters
from metrics_api.query.selection import select_rows
from metrics_api.query.statement import Bindings, Statement

Period = Literal["day", "week", "month"]
PERIODS: tuple[Period, ...] = get_args(Period)
PERIODS_DEFAULT, PERIODS_MAX = 8, 60

_NUMBERS: dict[Period, str] = {
    # Periods since 1970. Its first day was a Thursday, and weeks begin on Monday.
    "day": "toInt32({day})",
    "week": "intDiv(toInt32({day}) + 3, 7)",
    "month": "(toYear({day}) - 1970) * 12 + toMonth({day}) - 1",
}


@dataclass(frozen=True, slots=True)
class Retention:
    """The parsed parameters of the endpoint.

    Attributes:
        selection: events to look at.
        first: name of the event that puts a user in a cohort, None for any event.
        back: name of the event that counts as coming back, None for any event.
        period: length of a period.
        periods: number of periods of each cohort, including the one in which it began.
    """

    selection: Selection
    first: str | None
    back: str | None
    period: Period
    periods: int


def plan_retention(parameters: Parameters, now_us: int) -> QueryPlan:
    """Plan the query of GET /events/retention.

    Args:
        parameters: query parameters of the request.
        now_us: present time, in µs since 1970.

    Raises:
        ParameterError: A parameter is missing or wrong.
    """
    retention = parse_retention(parameters, now_us=now_us)
    return QueryPlan(
        [retention_sql(retention)],
        partial(_result, retention, max(0, min(now_us, retention.selection.range.end.us))),
        retention.selection.range.end.us,
    )


def parse_retention(parameters: Parameters, *, now_us: int) -> Retention:
    """Parse the parameters of the endpoint.

    Raises:
        ParameterError: A parameter is missing or wrong.
    """
    first, back = parameters.one("first_event"), parameters.one("return_event")
    period = parameters.choice("period", PERIODS) or "day"
    periods = parameters.integer("periods", low=1, high=PERIODS_MAX) or PERIODS_DEFAULT
    selection = parse_selection(parameters, now_us=now_us)
    if selection.names:
        raise ParameterError(
            "Query parameter event_name: retention has first_event and return_event instead"
        )
    if selection.range.start is None:
        raise ParameterError("Query parameter from or last is required")
    names = (first, back) if first is not None and back is not None else ()
    return Retention(
        Selection(names, selection.range, selection.filters), first, back, period, periods
    )


def retention_sql(retention: Retention) -> Statement:
    """Build the SQL that counts the users of each cohort in each period.

    Returns:
        A statement with rows (period in which the cohort began, numbered since 1970; periods later;
        users). The row of 0 periods later counts all users of the cohort.
    """
    bindings = Bindings()
    day = f"toDate32({local_time(retention.selection.range, bindings).moment})"
    columns = ", ".join(
        [
            f"{_NUMBERS[retention.period].replace('{day}', day)} AS number",
            f"{_named(retention.first, bindings)} AS is_first",
            f"{_named(retention.back, bindings)} AS is_back",
        ]
    )
    rows = select_rows(retention.selection, columns, bindings)
    users = (
        "SELECT minIf(number, is_first) AS began, groupUniqArrayIf(number, is_back) AS numbers"
        f" FROM ({rows}) WHERE user_hash != 0 GROUP BY user_hash HAVING countIf(is_first) > 0"
    )
    later = (
        "arrayJoin(arrayConcat([0], arrayMap(n -> n - began, arrayFilter(n -> n > began"
        f" AND n < began + {bindings.integer(retention.periods)}, numbers))))"
    )
    return Statement(
        f"SELECT began, {later} AS later, count() FROM ({users}) GROUP BY began, later",
        bindings.values,
    )


def _named(name: str | None, bindings: Bindings) -> str:
    return "1" if name is None else f"(name = {bindings.text(name)})"


def _result(retention: Retention, known_us: int, results: list[Rows]) -> QueryResult:
    """Shape the rows of `retention_sql`.

    Args:
        retention: the parsed parameters.
        known_us: last instant that the rows cover. A period that begins later has the count None,
            not 0.
        results: rows of the only statement.
    """
    last = _number(
        retention.period, moment_of(known_us, zone_of(retention.selection.range.zone)).date()
    )
    cohorts: dict[int, list[int | None]] = {}
    for began, later, users in results[0]:
        if began not in cohorts:
            known = min(max(last - began + 1, 0), retention.periods)
            cohorts[began] = [0] * known + [None] * (retention.periods - known)
        cohorts[began][later] = users
    ordered = sorted(cohorts.items())
    rows = [
        [_period(retention.period, began), later, users]
        for began, counts in ordered
        for later, users in enumerate(counts)
    ]
    document: dict[str, Any] = {
        **retention.selection.range.document(),
        "period": retention.period,
        "cohorts": [
            {"cohort": _period(retention.period, began), "users": counts[0], "retained": counts}
            for began, counts in ordered
        ],
    }
    return QueryResult(document, {"cohort": "text", "later": "integer", "users": "integer"}, rows)


def _number(period: Period, day: date) -> int:
    """Return the number of the period of a day, as the SQL in `_NUMBERS` computes it."""
    if period == "month":
        return (day.year - 1970) * 12 + day.month - 1
    days = (day - date(1970, 1, 1)).days
    return days if period == "day" else (days + 3) // 7


def _period(period: Period, number: int) -> str:
    """Return a period by its number, as its first day or as `2024-01` for a month."""
    if period == "month":
        return f"{1970 + number // 12}-{number % 12 + 1:02d}"
    days = number if period == "day" else number * 7 - 3
    return (date(1970, 1, 1) + timedelta(days=days)).isoformat()
