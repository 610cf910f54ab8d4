"""The OpenAPI part of the query side."""

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
    """Path to path item, without the errors that all operations have in common."""
    return {
        "/events/metrics": _question(
            "getMetrics",
            "Count events, unique users and more",
            "Exact: an event that was sent twice counts once. A unique user is a `user_id`, or a"
            " `user_pseudo_id` where that is empty; events with neither count as events alone.",
            [
                _parameter("event_name", _TEXTS, "Any of them", required=True),
                _parameter("group_by", _TEXTS, f"Up to five of {', '.join(KNOWN)}"),
                _parameter("interval", _one_of(UNITS), "A series of every group, over time"),
                *_measuring("key"),
                _parameter("other", _FLAG, "Whether what `limit` leaves out is a group: `true`"),
                _parameter("fill", _FLAG, "Whether there are points without events"),
                _parameter("compare", _one_of(COMPARISONS), "The same of an earlier range"),
                *_filters(),
            ],
            _METRICS,
        ),
        "/events/top": _question(
            "getTop",
            "The values of a dimension with the most events",
            "Of all events, or of those named.",
            [
                _parameter("dimension", _TEXT, f"`event_name`, or one of {', '.join(KNOWN)}"),
                _parameter("event_name", _TEXTS, "Any of them"),
                *_measuring("-total_count"),
            ],
            _listing("top", {"key": {"type": "string"}, **_NUMBERS}),
        ),
        "/events/funnel": _question(
            "getFunnel",
            "How many users go through steps, in order and in time",
            "A step is the name of an event, with filters of its own after a `?`:"
            " `purchase?param.value>=50`, percent-encoded.",
            [
                _parameter("step", {**_TEXTS, "minItems": 2, "maxItems": 16}, required=True),
                _parameter("window", _TEXT, "From the first step to the last: `1d`"),
                _parameter("group_by", _TEXT, "A dimension, as it was at the first step"),
                _limit(LIMIT_MAX),
            ],
            _listing("steps", {"step": {"type": "string"}, "users": _COUNT}),
        ),
        "/events/retention": _question(
            "getRetention",
            "How many users come back in later days, weeks or months",
            "A user belongs to the period of their first event in the range.",
            [
                _parameter("first_event", _TEXT, "That begins; left out: any"),
                _parameter("return_event", _TEXT, "That is coming back; left out: any"),
                _parameter("period", _one_of(PERIODS)),
                _parameter("periods", {"type": "integer", "minimum": 1, "maximum": PERIODS_MAX}),
            ],
            _listing("cohorts", {"cohort": {"type": "string"}, "users": _COUNT}),
        ),
        "/events/names": _question(
            "getNames",
            "Which events there are",
            "With their count, and when each was seen first and last.",
            [_parameter("event_name", _TEXTS, "Any of them"), _limit(LIMIT_MAX)],
            _listing("names", {"event_name": {"type": "string"}, "total_count": _COUNT}),
        ),
        "/events/properties": _question(
            "getProperties",
            "Which params events carry, and of which types",
            "`type_drift` marks keys whose values are of several types.",
            [
                _parameter("event_name", _TEXTS, "Any of them"),
                _parameter("scope", _one_of(tuple(SCOPES))),
                _limit(LIMIT_MAX),
            ],
            _listing("properties", {"key": {"type": "string"}, "total_count": _COUNT}),
        ),
    }


def recent_operation() -> dict[str, Any]:
    """GET of /events, whose POST belongs to ingestion."""
    operation: dict[str, Any] = _question(
        "getEvents",
        "The events themselves, newest first",
        "Page by page: `next_cursor` of a page is the `cursor` of the next.",
        [
            _parameter("id", _TEXTS, "Any of them"),
            _parameter("event_name", _TEXTS, "Any of them"),
            _parameter("cursor", _TEXT),
            _limit(PAGE_MAX),
        ],
        _listing("events", {"id": {"type": "string"}, "name": {"type": "string"}}),
    )["get"]
    return operation


def _question(
    operation: str,
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
    get = {
        "operationId": operation,
        "summary": summary,
        "description": f"{description} Filters: any dimension, as for /events/metrics.",
        "tags": ["metrics"],
        "parameters": [*parameters, *_COMMON],
        "responses": {"200": {"description": "The answer", "content": content}},
    }
    return {"get": get}


def _parameter(
    name: str, schema: dict[str, Any], description: str = "", *, required: bool = False
) -> dict[str, Any]:
    parameter = {"name": name, "in": "query", "required": required, "schema": schema}
    return parameter | ({"description": description} if description else {})


def _one_of(choices: Sequence[str]) -> dict[str, Any]:
    return {"type": "string", "enum": list(choices)}


def _limit(most: int) -> dict[str, Any]:
    return _parameter("limit", {"type": "integer", "minimum": 1, "maximum": most})


def _measuring(order: str) -> list[dict[str, Any]]:
    measure = {"type": "string", "examples": ["revenue", "sum:param.value", "p95:param.load_ms"]}
    return [
        _parameter("measure", {"type": "array", "items": measure}, "Computed next to the counts"),
        _parameter("order", _TEXT, f"`key` or a measure, `-` for largest first: `{order}`"),
        _limit(LIMIT_MAX),
        _parameter("approximate", _FLAG, "Whether about 1 % off will do, which is faster"),
    ]


def _filters() -> list[dict[str, Any]]:
    """Equality alone: OpenAPI has no word for the other operators."""
    return [
        _parameter(name, {"type": "array", "items": {"type": "string"}})
        for name in FILTERABLE
        if not name.startswith(tuple(PARAM_PREFIXES)) and name != "event_name"
    ]


_COMMON = [
    _parameter("from", _INSTANT, "Inclusive, or a day of `tz`; left out: from the earliest event"),
    _parameter("to", _INSTANT, "Inclusive, or a day of `tz`; left out: until now"),
    _parameter("last", {"type": "string", "examples": ["7d"]}, "Instead of from and to"),
    _parameter("tz", {"type": "string", "examples": ["Europe/Berlin"]}, "Of days and hours: UTC"),
    _parameter(
        "consistency",
        _one_of(CONSISTENCIES),
        "`flushed` makes everything acknowledged before queryable first",
    ),
]
_NUMBERS = {
    "total_count": _COUNT,
    "unique_user_count": _COUNT,
    "measures": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
}
_TRUNCATED = {"type": "boolean", "description": "Whether there are more than `limit`"}
_WATERMARK = {**_INSTANT, "description": "Every event received before it is in the answer"}


def _listing(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    items = {"type": "object", "required": list(properties)[:1], "properties": properties}
    return {
        "type": "object",
        "required": ["from", "to", name, "watermark"],
        "properties": {
            "from": {**_INSTANT, "description": f"{EARLIEST_TEXT} when none was asked for"},
            "to": _INSTANT,
            name: {"type": "array", "items": items},
            **({"truncated": _TRUNCATED} if name not in ("events", "cohorts") else {}),
            "watermark": _WATERMARK,
        },
    }


_POINTS = {
    "type": "array",
    "items": {"type": "object", "properties": {"time": {"type": "string"}, **_NUMBERS}},
}
_GROUP_KEY = {"type": "string", "examples": ["web", "2024-01-15", "2024-01-15 10:00:00"]}
_METRICS = _listing(
    "grouped_metrics",
    {"group_key": _GROUP_KEY, **_NUMBERS, "group": {"type": ["object", "null"]}, "series": _POINTS},
)
_METRICS["required"] = ["event_name", "from", "to", "total_count", "unique_user_count", "watermark"]
_METRICS["properties"] |= {"event_name": {"type": "string"}, **_NUMBERS, "series": _POINTS}
