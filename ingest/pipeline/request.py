"""A request for ingestion, and its receipt: what HTTP hands over and gets back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ingest.errors import EventError
from ingest.parsing.formats import BodyFormat

Ack = Literal["buffered", "durable", "stored"]
"""What a 201 promises: the events are in memory, in the WAL on disk, or in the table."""
ACKS: tuple[Ack, ...] = get_args(Ack)


@dataclass(slots=True)  # PERF: frozen costs 0.2 µs for each field
class IngestRequest:
    """The events of one request, not parsed yet.

    Attributes:
        body: as it was sent.
        body_format: how the body holds its events.
        encoding: the Content-Encoding; "" for none.
        idempotency_key: names the request; events without an id get one made from it.
        partial: whether the valid events are accepted if others are invalid.
        ack: what the reply is to promise.
    """

    body: bytes
    body_format: BodyFormat
    encoding: str
    idempotency_key: str | None
    partial: bool
    ack: Ack


@dataclass(slots=True)
class Receipt:
    """What became of a request that was accepted.

    Attributes:
        ids: one for each event of the request, in order; None where it was rejected.
        duplicates: how many of the accepted events were deduplicated.
        rejected: why the others were rejected, at most `validation.ERRORS_MAX` of them.
    """

    ids: Sequence[str | None]
    duplicates: int
    rejected: Sequence[EventError]
