"""The OpenAPI document. The schema of an event is generated from `ingest.event.definition`."""

from importlib.metadata import version
from typing import Any

import msgspec

from ingest.event.definition import Event
from ingest.http.headers import IDEMPOTENCY_KEY_LENGTH_MAX
from ingest.http.openapi_errors import complete
from ingest.http.routes import RouteTable
from ingest.parsing.compression import ENCODINGS
from ingest.parsing.formats import ARROW_TYPE, JSON_TYPES, NDJSON_TYPE
from ingest.parsing.validation import ERRORS_MAX
from ingest.pipeline.request import ACKS


def openapi_document(
    query_paths: dict[str, Any],
    get_events: dict[str, Any],
    *,
    table: RouteTable,
    events_max: int,
    decompressed_bytes_max: int,
) -> dict[str, Any]:
    """Return the document, in OpenAPI 3.1.

    Args:
        query_paths: the paths of the query side.
        get_events: the operation GET /events of the query side.
        table: the routes, with their scopes.
        events_max: how many events a request may have.
        decompressed_bytes_max: how large a body may be when decompressed, in bytes.
    """
    _, schemas = msgspec.json.schema_components([Event], ref_template="#/components/schemas/{name}")
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Event Stream",
            "version": version("event-stream"),
            "description": "Receives GA4-like events and computes exact metrics. Every path is also"
            " served under /v1.",
        },
        "paths": {
            "/events": {"get": get_events, "post": _post_event()},
            "/events/batch": {"post": _post_batch(events_max, decompressed_bytes_max)},
            "/events/schema": {"get": _schema()},
            **query_paths,
            "/livez": {"get": _health("getLivez", "Whether the process is alive", ready=False)},
            "/readyz": {"get": _health("getReadyz", "Whether the service is ready", ready=True)},
            "/metrics": {"get": _scrape()},
            "/debug/ledger": {"get": _ledger()},
        },
        "components": {"schemas": schemas | {"Error": _ERROR}},
    }
    return complete(document, table)


_REJECTED = {
    "type": "array",
    "description": f"The first {ERRORS_MAX} errors",
    "items": {
        "type": "object",
        "required": ["index", "field", "message"],
        "properties": {
            "index": {"type": "integer", "description": "Position of the event in the request"},
            "field": {"type": "string", "examples": ["event_params[0].key"]},
            "message": {"type": "string"},
        },
    },
}
_ERROR = {
    "type": "object",
    "required": ["message", "code"],
    "properties": {
        "message": {"type": "string"},
        "code": {"type": "integer", "description": "The HTTP status"},
        "errors": _REJECTED,
    },
}
_ID = {"type": "string"}


def _post_event() -> dict[str, Any]:
    event = {"$ref": "#/components/schemas/Event"}
    return {
        "operationId": "postEvent",
        "summary": "Send one event",
        "tags": ["events"],
        "parameters": [_idempotency_key(), _prefer()],
        "requestBody": {"required": True, "content": _json_content(event)},
        "responses": {
            "201": _reply(
                "The event is accepted, by this request or an earlier one",
                ["id"],
                {
                    "id": _ID,
                    "duplicate": {"type": "boolean", "description": "Accepted before"},
                },
            ),
        },
    }


def _post_batch(events_max: int, decompressed_bytes_max: int) -> dict[str, Any]:
    ids = {"type": "array", "items": {"type": ["string", "null"]}}
    counts = {
        "duplicates": {"type": "integer", "description": "How many were accepted before"},
        "accepted": {"type": "integer"},
        "rejected": _REJECTED,
    }
    return {
        "operationId": "postEvents",
        "summary": "Send many events",
        "description": f"At most {events_max} events and"
        f" {decompressed_bytes_max} bytes, decompressed. Content-Encoding may be one of"
        f" {', '.join(ENCODINGS)}. One invalid event fails the whole request, unless"
        " `partial=true`.",
        "tags": ["events"],
        "parameters": [
            _idempotency_key(),
            _prefer(),
            {
                "name": "partial",
                "in": "query",
                "schema": {"type": "boolean"},
                "description": "Store the valid events and list the errors of the others",
            },
        ],
        "requestBody": {
            "required": True,
            "content": _batch_content(events_max),
        },
        "responses": {
            "201": _reply(
                "All events are accepted; `ids` is in the order of the events",
                ["ids"],
                {"ids": {"type": "array", "items": _ID}, **counts},
            ),
            "207": _reply(
                "Some events are accepted; the id of a rejected event is null",
                ["ids", "accepted", "rejected"],
                {"ids": ids, **counts},
            ),
        },
    }


def _batch_content(events_max: int) -> dict[str, Any]:
    events = {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Event"},
        "maxItems": events_max,
    }
    wrapped = {"type": "object", "required": ["events"], "properties": {"events": events}}
    lines = {"type": "string", "description": "One event per line"}
    stream = {
        "type": "string",
        "format": "binary",
        "description": "An Arrow IPC stream with a row for each event; GET /events/schema returns"
        " its columns",
    }
    return {
        **_json_content({"anyOf": [wrapped, events]}),
        NDJSON_TYPE: {"schema": lines},
        ARROW_TYPE: {"schema": stream},
    }


def _schema() -> dict[str, Any]:
    column = {
        "type": "object",
        "required": ["name", "type", "required"],
        "properties": {
            "name": {"type": "string"},
            "type": {"type": "string", "description": "The Arrow type"},
            "required": {"type": "boolean"},
        },
    }
    reply = _reply(
        f"The columns; with `Accept: {ARROW_TYPE}` an empty stream that has them",
        ["columns"],
        {"columns": {"type": "array", "items": column}},
    )
    reply["content"][ARROW_TYPE] = {"schema": {"type": "string", "format": "binary"}}
    return {
        "operationId": "getEventsSchema",
        "summary": "The columns of an Arrow stream of events",
        "tags": ["events"],
        "responses": {"200": reply},
    }


def _health(operation: str, summary: str, *, ready: bool) -> dict[str, Any]:
    properties: dict[str, Any] = {"status": {"type": "string"}}
    if ready:
        properties["checks"] = {"type": "object", "additionalProperties": {"type": "string"}}
    responses = {"200": _reply("It is", ["status"], properties)}
    if ready:
        responses["503"] = _reply("It is not; `checks` says why", ["status", "checks"], properties)
    return {
        "operationId": operation,
        "summary": summary,
        "tags": ["operations"],
        "responses": responses,
    }


def _scrape() -> dict[str, Any]:
    return {
        "operationId": "getPrometheus",
        "summary": "Metrics for Prometheus",
        "tags": ["operations"],
        "responses": {
            "200": {
                "description": "All metrics of the service itself",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
        },
    }


def _ledger() -> dict[str, Any]:
    counts = {"type": "object", "additionalProperties": {"type": "integer"}}
    properties = {
        "total": counts,
        "balanced": {"type": "boolean", "description": "`received` is the sum of all outcomes"},
        "workers": {"type": "object", "additionalProperties": counts},
    }
    return {
        "operationId": "getLedger",
        "summary": "How many events were received, and their outcomes",
        "tags": ["operations"],
        "responses": {
            "200": _reply(
                "Counts by worker, and their sum", ["total", "balanced", "workers"], properties
            ),
        },
    }


def _json_content(schema: dict[str, Any]) -> dict[str, Any]:
    # The other types of JSON_TYPES are for clients that can't set the header.
    return {JSON_TYPES[0]: {"schema": schema}}


def _idempotency_key() -> dict[str, Any]:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_LENGTH_MAX},
        "description": "Identifies the request: an event without an id gets one made from this key",
    }


def _prefer() -> dict[str, Any]:
    return {
        "name": "Prefer",
        "in": "header",
        "schema": {"type": "string", "examples": ["ack=stored"]},
        "description": f"`ack=` and one of {', '.join(ACKS)}: what the reply promises",
    }


def _reply(description: str, required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": required, "properties": properties}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
