"""The query endpoints in the OpenAPI document."""

from collections.abc import Sequence
from typing import Any

from metrics_api.calendar.moments import UNITS
from metrics_api.endpoints.catalog import SCOPES
from metrics_api.endpoints.events import LIMIT_MAX as PAGE_MAX
from metrics_api.endpoints.retention import PERIODS, PERIODS_MAX
from metrics_api.query.dimensions import FILTERABLE, KNOWN, PARAM_PREFIXES
from metrics_api.query.params import CONSISTENCIES, LIMIT_MAX
from metrics_api.query.times import COMPARISONS, EARLIEST_TEXT
from metrics_api.serving.formats import ARROW, CSV

_COUNT = {"type": "integer", "minimum": 0}
_TEXT = {"type": "string", "minLength": 1}
_INSTANT = {"type": "string", "format": "date-time"}
_TEXTS = {"type": "array", "items": _TEXT, "minItems": 1}
_FLAG = {"type": "string", "enum": ["true", "false"]}


def metrics_paths() -> dict[str, Any]:
    """Return path to path item, without the error responses that all operations share."""
    return {
        "/events/metrics": {"get": _metrics_operation()},
        "/events/top": {"get": _top_operation()},
        "/events/funnel": {"get": _funnel_operation()},
        "/events/retention": {"get": _retention_operation()},
        "/events/names": {"get": _names_operation()},
        "/events/properties": {"get": _properties_operation()},
    }


def recent_operation() -> dict[str, Any]:
    """Return GET of /events. It is apart because POST of the same path belongs to ingestion."""
    return _operation(
        "getEvents",
        "List events, newest first",
        "Pages follow each other: `next_cursor` of a page is the `cursor` of the next.",
        [
            _parameter("id", _TEXTS, "Only events with one of these ids"),
            _parameter("event_name", _TEXTS, "Only events with one of these names"),
            _parameter("cursor", _TEXT),
            _limit(PAGE_MAX),
        ],
        _listing("events", {"id": {"type": "string"}, "name": {"type": "string"}}),
    )


def _metrics_operation() -> dict[str, Any]:
    return _operation(
        "getMetrics",
        "Count events, unique users and more",
        "Counts are exact: an event that was sent twice counts once. A unique user is a `user_id`,"
        " or a `user_pseudo_id` where that is empty. Events with neither count as events, but not"
        " as users.",
        [
            _parameter("event_name", _TEXTS, "Names of the events to count", required=True),
            _parameter("group_by", _TEXTS, f"Up to five of {', '.join(KNOWN)}"),
            _parameter("interval", _one_of(UNITS), "Adds a series over time to every group"),
            *_measure_parameters("key"),
            _parameter(
                "other", _FLAG, "Whether groups beyond `limit` are merged into one; default `true`"
            ),
            _parameter("fill", _FLAG, "Whether times without events are included"),
            _parameter("compare", _one_of(COMPARISONS), "Adds the numbers of an earlier range"),
            *_filters(),
        ],
        _metrics_schema(),
    )


def _top_operation() -> dict[str, Any]:
    return _operation(
        "getTop",
        "List the values of a dimension with the most events",
        "Counts all events if no `event_name` is given.",
        [
            _parameter("dimension", _TEXT, f"`event_name`, or one of {', '.join(KNOWN)}"),
            _parameter("event_name", _TEXTS, "Names of the events to count"),
            *_measure_parameters("-total_count"),
        ],
        _listing("top", {"key": {"type": "string"}, **_NUMBERS}),
    )


def _funnel_operation() -> dict[str, Any]:
    return _operation(
        "getFunnel",
        "Count the users that take steps in order, within a time window",
        "A step is the name of an event. Filters of the step may follow after a `?`,"
        " percent-encoded: `purchase?param.value>=50`.",
        [
            _parameter("step", {**_TEXTS, "minItems": 2, "maxItems": 16}, required=True),
            _parameter(
                "window", _TEXT, "Longest time from the first step to the last; default `1d`"
            ),
            _parameter("group_by", _TEXT, "A dimension, read from the event of the first step"),
            _limit(LIMIT_MAX),
        ],
        _listing("steps", {"step": {"type": "string"}, "users": _COUNT}),
    )


def _retention_operation() -> dict[str, Any]:
    return _operation(
        "getRetention",
        "Count the users that come back in later days, weeks or months",
        "A user belongs to the period of their first event in the range.",
        [
            _parameter("first_event", _TEXT, "Event that puts a user in a period; default: any"),
            _parameter("return_event", _TEXT, "Event that counts as coming back; default: any"),
            _parameter("period", _one_of(PERIODS)),
            _parameter("periods", {"type": "integer", "minimum": 1, "maximum": PERIODS_MAX}),
        ],
        _listing("cohorts", {"cohort": {"type": "string"}, "users": _COUNT}),
    )


def _names_operation() -> dict[str, Any]:
    return _operation(
        "getNames",
        "List the names of events",
        "Each name has its event count, and the times at which it was seen first and last.",
        [
            _parameter("event_name", _TEXTS, "Only these names"),
            _limit(LIMIT_MAX),
        ],
        _listing("names", {"event_name": {"type": "string"}, "total_count": _COUNT}),
    )


def _properties_operation() -> dict[str, Any]:
    return _operation(
        "getProperties",
        "List the keys of params, and the types of their values",
        "`type_drift` marks keys whose values are of several types.",
        [
            _parameter("event_name", _TEXTS, "Only params of events with one of these names"),
            _parameter("scope", _one_of(tuple(SCOPES))),
            _limit(LIMIT_MAX),
        ],
        _listing("properties", {"key": {"type": "string"}, "total_count": _COUNT}),
    )


def _operation(
    operation_id: str,
    summary: str,
    description: str,
    parameters: list[dict[str, Any]],
    schema: dict[str, Any],
) -> dict[str, Any]:
    content = {
        "application/json": {"schema": schema},
        CSV: {"schema": {"type": "string"}},
        ARROW: {"schema": {"type": "string", "format": "binary"}},
    }
    return {
        "operationId": operation_id,
        "summary": summary,
        "description": f"{description} Filters: any dimension, as for /events/metrics.",
        "tags": ["metrics"],
        "parameters": [*parameters, *_COMMON],
        "responses": {"200": {"description": "The query result", "content": content}},
    }


def _parameter(
    name: str, schema: dict[str, Any], description: str = "", *, required: bool = False
) -> dict[str, Any]:
    parameter = {"name": name, "in": "query", "required": required, "schema": schema}
    return parameter | ({"description": description} if description else {})


def _one_of(choices: Sequence[str]) -> dict[str, Any]:
    return {"type": "string", "enum": list(choices)}


def _limit(limit_max: int) -> dict[str, Any]:
    return _parameter("limit", {"type": "integer", "minimum": 1, "maximum": limit_max})


def _measure_parameters(default_order: str) -> list[dict[str, Any]]:
    measure = {"type": "string", "examples": ["revenue", "sum:param.value", "p95:param.load_ms"]}
    order = f"`key` or a measure, with `-` for the largest first; default `{default_order}`"
    return [
        _parameter("measure", {"type": "array", "items": measure}, "Computed next to the counts"),
        _parameter("order", _TEXT, order),
        _limit(LIMIT_MAX),
        _parameter("approximate", _FLAG, "Faster, but about 1 % off"),
    ]


def _filters() -> list[dict[str, Any]]:
    """Return the filters by equality. OpenAPI can't describe the other operators."""
    return [
        _parameter(name, {"type": "array", "items": {"type": "string"}})
        for name in FILTERABLE
        if not name.startswith(tuple(PARAM_PREFIXES)) and name != "event_name"
    ]


_COMMON = [
    _parameter("from", _INSTANT, "Inclusive, or a day of `tz`; default: the earliest event"),
    _parameter("to", _INSTANT, "Inclusive, or a day of `tz`; default: now"),
    _parameter("last", {"type": "string", "examples": ["7d"]}, "Instead of `from` and `to`"),
    _parameter(
        "tz",
        {"type": "string", "examples": ["Europe/Berlin"]},
        "Time zone of days and hours; default: UTC",
    ),
    _parameter(
        "consistency",
        _one_of(CONSISTENCIES),
        "`flushed` first makes all acknowledged events queryable",
    ),
]
_NUMBERS = {
    "total_count": _COUNT,
    "unique_user_count": _COUNT,
    "measures": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
}
_TRUNCATED = {"type": "boolean", "description": "Whether there are more than `limit`"}
_WATERMARK = {**_INSTANT, "description": "Every event received before it is in the result"}


def _listing(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a document that has a list of objects.

    Args:
        name: key of the list.
        properties: properties of each object. The first one is always there.
    """
    items = {"type": "object", "required": list(properties)[:1], "properties": properties}
    return {
        "type": "object",
        "required": ["from", "to", name, "watermark"],
        "properties": {
            "from": {**_INSTANT, "description": f"{EARLIEST_TEXT} if the request has no `from`"},
            "to": _INSTANT,
            name: {"type": "array", "items": items},
            **({"truncated": _TRUNCATED} if name not in ("events", "cohorts") else {}),
            "watermark": _WATERMARK,
        },
    }


def _metrics_schema() -> dict[str, Any]:
    point = {"type": "object", "properties": {"time": {"type": "string"}, **_NUMBERS}}
    series = {"type": "array", "items": point}
    group = {
        "group_key": {"type": "string", "examples": ["web", "2024-01-15", "2024-01-15 10:00:00"]},
        **_NUMBERS,
        "group": {"type": ["object", "null"]},
        "series": series,
    }
    schema = _listing("grouped_metrics", group)
    schema["required"] = [
        "event_name", "from", "to", "total_count", "unique_user_count", "watermark"
    ]  # fmt: skip
    schema["properties"] |= {"event_name": {"type": "string"}, **_NUMBERS, "series": series}
    return schema
