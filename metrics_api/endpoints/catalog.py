"""GET /events/names and /events/properties: the names of events, and the params they carry."""

from functools import partial

from metrics_api.endpoints.endpoint import QueryPlan, QueryResult, Rows
from metrics_api.query.dimensions import PARAM_PREFIXES
from metrics_api.query.params import LIMIT_DEFAULT, LIMIT_MAX, Selection, parse_selection
from metrics_api.query.query_string import Parameters
from metrics_api.query.selection import select_rows
from metrics_api.query.statement import Bindings, Statement
from metrics_api.query.times import printed_ms

TYPES = ("string", "number", "boolean")
EXAMPLES = 3
"""Maximum number of example values of a param."""
EXAMPLE_LENGTH = 100
"""Characters after which an example is cut off."""
SCOPES = {"event": "event_params", "user": "user_params"}
"""Scope as clients write it to the column of its params."""


def plan_names(parameters: Parameters, now_us: int) -> QueryPlan:
    """Plan the query of GET /events/names.

    Args:
        parameters: query parameters of the request.
        now_us: present time, in µs since 1970.

    Raises:
        ParameterError: A parameter is missing or wrong.
    """
    limit = parameters.integer("limit", low=1, high=LIMIT_MAX) or LIMIT_DEFAULT
    selection = parse_selection(parameters, now_us=now_us)
    return QueryPlan(
        [names_sql(selection, limit)],
        partial(_result_names, selection, limit),
        selection.range.end.us,
    )


def names_sql(selection: Selection, limit: int) -> Statement:
    """Build the SQL that lists the names of events.

    Returns:
        A statement with rows (name, event count, first µs, last µs), the most frequent first. There
        is one row more than `limit` if the list is truncated.
    """
    bindings = Bindings()
    rows = select_rows(selection, "name, toUnixTimestamp64Micro(event_time) AS time", bindings)
    return Statement(
        f"SELECT toString(name), count(), min(time), max(time) FROM ({rows}) GROUP BY name"
        f" ORDER BY count() DESC, name LIMIT {bindings.integer(limit + 1)}",
        bindings.values,
    )


def _result_names(selection: Selection, limit: int, results: list[Rows]) -> QueryResult:
    rows = [
        [name, count, printed_ms(first_us), printed_ms(last_us)]
        for name, count, first_us, last_us in results[0][:limit]
    ]
    columns = ("event_name", "total_count", "first_seen", "last_seen")
    return QueryResult(
        {
            **selection.range.document(),
            "names": [dict(zip(columns, row, strict=True)) for row in rows],
            "truncated": len(results[0]) > limit,
        },
        {"event_name": "text", "total_count": "integer", "first_seen": "text", "last_seen": "text"},
        rows,
    )


def plan_properties(parameters: Parameters, now_us: int) -> QueryPlan:
    """Plan the query of GET /events/properties.

    Args:
        parameters: query parameters of the request.
        now_us: present time, in µs since 1970.

    Raises:
        ParameterError: A parameter is missing or wrong.
    """
    scope = parameters.choice("scope", tuple(SCOPES)) or "event"
    limit = parameters.integer("limit", low=1, high=LIMIT_MAX) or LIMIT_DEFAULT
    selection = parse_selection(parameters, now_us=now_us)
    return QueryPlan(
        [properties_sql(selection, SCOPES[scope], limit)],
        partial(_result_properties, selection, scope, limit),
        selection.range.end.us,
    )


def properties_sql(selection: Selection, column: str, limit: int) -> Statement:
    """Build the SQL that lists the keys of params.

    Args:
        selection: events to look at.
        column: column of the params, one of the values of `SCOPES`.
        limit: maximum number of keys.

    Returns:
        A statement with rows (key, event count, strings, numbers, booleans, examples), the most
        frequent first. There is one row more than `limit` if the list is truncated.
    """
    bindings = Bindings()
    columns = ", ".join(
        [f"arrayEnumerateUniq({column}.key) AS nth", f"{column}.key AS key"]
        + [f"{column}.{kind}_value AS {kind}" for kind in TYPES]
    )
    rows = select_rows(selection, columns, bindings)
    example = (
        "multiIf(isNotNull(string), assumeNotNull(string),"
        " isNotNull(number), toString(assumeNotNull(number) + 0.),"
        " if(assumeNotNull(boolean), 'true', 'false'))"
    )
    counts = ", ".join(f"countIf(isNotNull({kind}))" for kind in TYPES)
    some = f"isNotNull({'), isNotNull('.join(TYPES)})"
    return Statement(
        # An event that has a key twice counts once: its first occurrence has nth = 1.
        f"SELECT toString(key), countIf(nth = 1), {counts},"
        f" groupUniqArrayIf({EXAMPLES})(substringUTF8({example}, 1, {EXAMPLE_LENGTH}), or({some}))"
        f" FROM ({rows}) ARRAY JOIN nth, key, {', '.join(TYPES)} GROUP BY key"
        f" ORDER BY countIf(nth = 1) DESC, key LIMIT {bindings.integer(limit + 1)}",
        bindings.values,
    )


def _result_properties(
    selection: Selection, scope: str, limit: int, results: list[Rows]
) -> QueryResult:
    prefix = next(p for p, column in PARAM_PREFIXES.items() if column == SCOPES[scope])
    properties, rows = [], []
    for key, events, strings, numbers, booleans, examples in results[0][:limit]:
        types = dict(zip(TYPES, (strings, numbers, booleans), strict=True))
        drifts = sum(count > 0 for count in types.values()) > 1
        properties.append(
            {
                "key": key,
                "dimension": prefix + key,
                "total_count": events,
                "types": {kind: count for kind, count in types.items() if count},
                "type_drift": drifts,
                "examples": sorted(examples),
            }
        )
        rows.append([key, events, strings, numbers, booleans, int(drifts)])
    return QueryResult(
        {
            **selection.range.document(),
            "scope": scope,
            "properties": properties,
            "truncated": len(results[0]) > limit,
        },
        {"key": "text", "total_count": "integer", "string": "integer", "number": "integer",
         "boolean": "integer", "type_drift": "integer"},
        rows,
    )  # fmt: skip
