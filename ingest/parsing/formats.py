"""The formats of bodies, and their media types."""

from enum import Enum, auto
from typing import Literal, TypeAlias, get_args

from ingest.errors import MediaTypeError

JSON_TYPES = ("application/json", "text/plain", "application/x-www-form-urlencoded")
"""Types of JSON bodies. sendBeacon sends JSON as text/plain, curl as x-www-form-urlencoded."""
NDJSON_TYPE = "application/x-ndjson"
NDJSON_TYPES = (
    NDJSON_TYPE, "application/ndjson", "application/jsonl", "application/x-jsonl",
    "application/jsonlines", "application/x-jsonlines", "application/json-lines", "text/x-ndjson",
)  # fmt: skip
"""NDJSON has no registered media type. These types are in use."""
ARROW_TYPE = "application/vnd.apache.arrow.stream"


class BodyFormat(Enum):
    """The format of the events in a body."""

    EVENT = auto()
    """One event as a JSON object."""
    BATCH = auto()
    """`{"events": [...]}`, or a list of events."""
    NDJSON = auto()
    """One event per line."""
    ARROW = auto()
    """An Arrow IPC stream with a row for each event."""


JsonFormat: TypeAlias = Literal[BodyFormat.EVENT, BodyFormat.BATCH, BodyFormat.NDJSON]
JSON_FORMATS: tuple[JsonFormat, ...] = get_args(JsonFormat)


def event_format(media_type: str) -> BodyFormat:
    """Return the format of a body with one event.

    Args:
        media_type: from the Content-Type, in lower case and without parameters.

    Raises:
        MediaTypeError: this type is not supported.
    """
    if media_type not in JSON_TYPES:
        raise MediaTypeError(f"Content-Type must be {JSON_TYPES[0]}")
    return BodyFormat.EVENT


def batch_format(media_type: str) -> BodyFormat:
    """Return the format of a body with many events; see `event_format`."""
    if media_type in NDJSON_TYPES:
        return BodyFormat.NDJSON
    if media_type == ARROW_TYPE:
        return BodyFormat.ARROW
    if media_type not in JSON_TYPES:
        raise MediaTypeError(f"Content-Type must be {JSON_TYPES[0]}, {NDJSON_TYPE} or {ARROW_TYPE}")
    return BodyFormat.BATCH
