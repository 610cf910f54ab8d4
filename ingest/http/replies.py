"""The reply to an ingest request. The fast path and the Falcon resources both use it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ingest.parsing.formats import JSON_TYPES, BodyFormat
from ingest.pipeline.request import ACKS, Ack, IngestRequest, Receipt

_HEADERS: Mapping[Ack, Mapping[str, str]] = {
    ack: {"Content-Type": JSON_TYPES[0], "Preference-Applied": f"ack={ack}"} for ack in ACKS
}


@dataclass(slots=True)
class IngestReply:
    """Status, headers and body of a response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def ingest_reply(request: IngestRequest, receipt: Receipt) -> IngestReply:
    """Build the reply that lists the ids of the events, and the duplicates and errors."""
    document = _one(receipt) if request.body_format is BodyFormat.EVENT else _many(receipt)
    if request.partial:
        document["accepted"] = len(receipt.ids) - receipt.ids.count(None)
        document["rejected"] = receipt.rejected
    status = 207 if receipt.rejected else 201
    return IngestReply(status, _HEADERS[request.ack], orjson.dumps(document))


def _one(receipt: Receipt) -> dict[str, Any]:
    document: dict[str, Any] = {"id": receipt.ids[0]}
    if receipt.duplicates:
        document["duplicate"] = True
    return document


def _many(receipt: Receipt) -> dict[str, Any]:
    document: dict[str, Any] = {"ids": receipt.ids}
    if receipt.duplicates:
        document["duplicates"] = receipt.duplicates
    return document
