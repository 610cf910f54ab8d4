"""A simple service for comparison: FastAPI, pydantic, and one insert for each request.

    python -m bench.baselines.plain_team PORT PLACE [--async-insert]

PLACE is a data directory for the embedded engine, or the URL of a database on a server. Both are
the same engine as that of Event Stream, so that only the code around it differs. It does not
deduplicate, does not buffer, and keeps nothing if the insert fails.
"""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from bench.baselines.plain_engine import open_engine


class Param(BaseModel):
    """A param of an event or a user."""

    key: str
    string_value: str | None = None
    number_value: float | None = None
    boolean_value: bool | None = None


class Item(BaseModel):
    """An item of an event."""

    id: str = ""
    name: str = ""
    brand: str = ""
    price_in_usd: float | None = None
    revenue_in_usd: float | None = None
    quantity: int | None = None


class Event(BaseModel):
    """An event."""

    id: str = ""
    name: str
    channel_type: str
    timestamp: int | None = None
    previous_timestamp: int | None = None
    user_id: str = ""
    user_pseudo_id: str = ""
    event_params: list[Param] = []
    user_params: list[Param] = []
    device: dict[str, str] = {}
    app_info: dict[str, str] = {}
    geo: dict[str, str] = {}
    items: list[Item] = []


class Batch(BaseModel):
    """The body of POST /events/batch."""

    events: list[Event]


def create_app(place: str, *, async_insert: bool) -> FastAPI:
    """Create the app and the table. With `async_insert`, ClickHouse gathers inserts itself."""
    app = FastAPI()
    engine = open_engine(place, async_insert=async_insert)

    def insert(events: list[Event]) -> dict[str, Any]:
        engine.insert("\n".join(event.model_dump_json() for event in events))
        return {"ids": [event.id for event in events]}

    @app.post("/events", status_code=201)
    def post_event(event: Event) -> dict[str, Any]:
        return insert([event])

    @app.post("/events/batch", status_code=201)
    def post_batch(batch: Batch) -> dict[str, Any]:
        return insert(batch.events)

    @app.get("/readyz")
    def readyz() -> dict[str, str]:
        return {}

    @app.get("/count")
    def count() -> dict[str, int]:
        return {"count": engine.count()}

    return app


if __name__ == "__main__":
    application = create_app(sys.argv[2], async_insert="--async-insert" in sys.argv)
    uvicorn.run(application, port=int(sys.argv[1]), log_level="error", access_log=False)
