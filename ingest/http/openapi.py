"""The OpenAPI document: the event's schema comes from its one definition, limits from settings."""

from importlib.metadata import version
from typing import Any

import msgspec

from ingest.event.definition import Event
from ingest.http.headers import IDEMPOTENCY_KEY_LENGTH_MAX
from ingest.http.openapi_errors import complete
from ingest.http.routes import RouteTable
from ingest.parsing.compression import ENCODINGS
from ingest.parsing.formats import JSON_TYPES, NDJSON_TYPE
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
    """Return the document, as OpenAPI 3.1.

    Args:
        query_paths: the paths of the query side.
        get_events: its GET of /events.
        table: the routes, with their scopes.
        events_max: events in one request.
        decompressed_bytes_max: bytes of a body, decompressed.
    """
    _, schemas = msgspec.json.schema_components([Event], ref_template="#/components/schemas/{name}")
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Event Stream",
            "version": version("event-stream"),
            "description": "GA4-like events in, exact metrics out. Every path is served bare and"
            " under /v1.",
        },
        "paths": {
            "/events": {"get": get_events, "post": _post_event()},
            "/events/batch": {"post": _post_batch(events_max, decompressed_bytes_max)},
            **query_paths,
            "/livez": {"get": _health("getLivez", "Whether the process lives", ready=False)},
            "/readyz": {"get": _health("getReadyz", "Whether to send requests", ready=True)},
            "/metrics": {"get": _scrape()},
            "/debug/ledger": {"get": _ledger()},
        },
        "components": {"schemas": schemas | {"Error": _ERROR}},
    }
    return complete(document, table)


_REJECTED = {
    "type": "array",
    "description": f"At most {ERRORS_MAX} of them",
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
                "The event was accepted, now or before",
                ["id"],
                {
                    "id": _ID,
                    "duplicate": {"type": "boolean", "description": "It was accepted before"},
                },
            ),
        },
    }


def _post_batch(events_max: int, decompressed_bytes_max: int) -> dict[str, Any]:
    events = {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Event"},
        "maxItems": events_max,
    }
    wrapped = {"type": "object", "required": ["events"], "properties": {"events": events}}
    ids = {"type": "array", "items": {"type": ["string", "null"]}}
    counts = {
        "duplicates": {"type": "integer", "description": "Events that were accepted before"},
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
                "description": "Store the valid events and list the others",
            },
        ],
        "requestBody": {
            "required": True,
            "content": _json_content({"anyOf": [wrapped, events]})
            | {
                NDJSON_TYPE: {
                    "schema": {"type": "string", "description": "One event a line"},
                }
            },
        },
        "responses": {
            "201": _reply(
                "All events were accepted; ids are in their order",
                ["ids"],
                {"ids": {"type": "array", "items": _ID}, **counts},
            ),
            "207": _reply(
                "Some events were accepted; the id of a rejected one is null",
                ["ids", "accepted", "rejected"],
                {"ids": ids, **counts},
            ),
        },
    }


def _health(operation: str, summary: str, *, ready: bool) -> dict[str, Any]:
    properties: dict[str, Any] = {"status": {"type": "string"}}
    if ready:
        properties["checks"] = {"type": "object", "additionalProperties": {"type": "string"}}
    responses = {"200": _reply("Yes", ["status"], properties)}
    if ready:
        responses["503"] = _reply("No; the checks say why", ["status", "checks"], properties)
    return {
        "operationId": operation,
        "summary": summary,
        "tags": ["operations"],
        "responses": responses,
    }


def _scrape() -> dict[str, Any]:
    return {
        "operationId": "getPrometheus",
        "summary": "Prometheus exposition",
        "tags": ["operations"],
        "responses": {
            "200": {
                "description": "All instruments",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
        },
    }


def _ledger() -> dict[str, Any]:
    books = {"type": "object", "additionalProperties": {"type": "integer"}}
    properties = {
        "total": books,
        "balanced": {"type": "boolean", "description": "received is the sum of all outcomes"},
        "workers": {"type": "object", "additionalProperties": books},
    }
    return {
        "operationId": "getLedger",
        "summary": "The books: what came in and what became of it",
        "tags": ["operations"],
        "responses": {
            "200": _reply("By worker and in all", ["total", "balanced", "workers"], properties),
        },
    }


def _json_content(schema: dict[str, Any]) -> dict[str, Any]:
    """Only the first is documented: the other types are there for clients that can't set it."""
    return {JSON_TYPES[0]: {"schema": schema}}


def _idempotency_key() -> dict[str, Any]:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_LENGTH_MAX},
        "description": "Names the request: events without an id of their own get one made from it",
    }


def _prefer() -> dict[str, Any]:
    return {
        "name": "Prefer",
        "in": "header",
        "schema": {"type": "string", "examples": ["ack=stored"]},
        "description": f"`ack=` one of {', '.join(ACKS)}: what a 201 promises",
    }


def _reply(description: str, required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": required, "properties": properties}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
