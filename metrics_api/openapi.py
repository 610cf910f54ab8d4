"""The OpenAPI part of the query side."""

from typing import Any

from metrics_api.params import CONSISTENCIES, EARLIEST_TEXT, GROUPS

_COUNT = {"type": "integer", "minimum": 0}
_INSTANT = {"type": "string", "format": "date-time"}


def metrics_paths() -> dict[str, Any]:
    """Path to path item; refers to the component schema Error."""
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "/events/metrics": {
            "get": {
                "operationId": "getMetrics",
                "summary": "Count events and unique users",
                "description": "Exact: an event that was sent twice counts once. A unique user is"
                " a `user_id`, or a `user_pseudo_id` where that is empty; events with neither"
                " count as events alone.",
                "tags": ["metrics"],
                "parameters": [
                    _parameter("event_name", {"type": "string", "minLength": 1}, required=True),
                    _parameter("from", _INSTANT, "Inclusive; left out: from the earliest event"),
                    _parameter("to", _INSTANT, "Inclusive; left out: until now"),
                    _parameter("group_by", {"type": "string", "enum": list(GROUPS)}),
                    _parameter(
                        "consistency",
                        {"type": "string", "enum": list(CONSISTENCIES)},
                        "`flushed` makes everything acknowledged before queryable first",
                    ),
                ],
                "responses": {
                    "200": {
                        "description": "The metrics",
                        "content": {"application/json": {"schema": _METRICS}},
                    },
                    "400": {"description": "A parameter is missing or wrong", "content": error},
                    "503": {
                        "description": "Storage can't answer now, or not in time",
                        "headers": {
                            "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds"}
                        },
                        "content": error,
                    },
                },
            }
        }
    }


def _parameter(
    name: str, schema: dict[str, Any], description: str = "", *, required: bool = False
) -> dict[str, Any]:
    parameter = {"name": name, "in": "query", "required": required, "schema": schema}
    return parameter | ({"description": description} if description else {})


_METRICS = {
    "type": "object",
    "required": [
        "event_name",
        "from",
        "to",
        "total_count",
        "unique_user_count",
        "watermark",
    ],
    "properties": {
        "event_name": {"type": "string"},
        "from": {**_INSTANT, "description": f"{EARLIEST_TEXT} when none was asked for"},
        "to": _INSTANT,
        "total_count": _COUNT,
        "unique_user_count": _COUNT,
        "watermark": {
            **_INSTANT,
            "description": "Every event received before it is in the answer",
        },
        "grouped_metrics": {
            "type": "array",
            "description": "Ordered by key; left out when there is no group",
            "items": {
                "type": "object",
                "required": ["group_key", "total_count", "unique_user_count"],
                "properties": {
                    "group_key": {
                        "type": "string",
                        "examples": ["web", "2024-01-15", "2024-01-15 10:00:00"],
                    },
                    "total_count": _COUNT,
                    "unique_user_count": _COUNT,
                },
            },
        },
    },
}
