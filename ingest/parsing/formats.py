"""The formats that a body may have, and the media types that announce them."""

from enum import Enum, auto

from ingest.errors import MediaTypeError

JSON_TYPES = ("application/json", "text/plain", "application/x-www-form-urlencoded")
"""sendBeacon sends text/plain and curl sends x-www-form-urlencoded, with JSON in the body."""
NDJSON_TYPE = "application/x-ndjson"
NDJSON_TYPES = (
    NDJSON_TYPE, "application/ndjson", "application/jsonl", "application/x-jsonl",
    "application/jsonlines", "application/x-jsonlines", "application/json-lines", "text/x-ndjson",
)  # fmt: skip
"""NDJSON has no registered media type; these are in use."""


class BodyFormat(Enum):
    """How a body holds its events."""

    EVENT = auto()
    """One event as a JSON object."""
    BATCH = auto()
    """`{"events": [...]}`, or a bare list."""
    NDJSON = auto()
    """One event a line."""


def event_format(media_type: str) -> BodyFormat:
    """Choose the format of a body with one event.

    Args:
        media_type: of the Content-Type, in lower case and without parameters.

    Raises:
        MediaTypeError: no event can be sent as this type.
    """
    if media_type not in JSON_TYPES:
        raise MediaTypeError(f"Content-Type must be {JSON_TYPES[0]}")
    return BodyFormat.EVENT


def batch_format(media_type: str) -> BodyFormat:
    """Choose the format of a body with many events; see `event_format`."""
    if media_type in NDJSON_TYPES:
        return BodyFormat.NDJSON
    if media_type not in JSON_TYPES:
        raise MediaTypeError(f"Content-Type must be {JSON_TYPES[0]} or {NDJSON_TYPE}")
    return BodyFormat.BATCH
