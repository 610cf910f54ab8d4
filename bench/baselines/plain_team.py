"""A simple service for comparison: FastAPI, pydantic, and one insert for each request.

    python -m bench.baselines.plain_team PORT DATA_DIR [--async-insert]

It uses the same embedded engine as Event Stream, so that only the code around the engine differs.
It does not deduplicate, does not buffer, and keeps nothing if the insert fails.
"""

import sys
import threading
from typing import Any

import chdb
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from bench.baselines.plain_table import CREATE_TABLE, INSERT


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


def create_app(data_dir: str, *, async_insert: bool) -> FastAPI:
    """Create the app and the table. With `async_insert`, ClickHouse gathers inserts itself."""
    app = FastAPI()
    connection = chdb.connect(data_dir)
    connection.query(CREATE_TABLE)
    if async_insert:
        connection.query("SET async_insert = 1, wait_for_async_insert = 1")
    lock = threading.Lock()

    def insert(events: list[Event]) -> dict[str, Any]:
        lines = "\n".join(event.model_dump_json() for event in events)
        with lock:
            connection.query(INSERT + lines)
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
        with lock:
            return {"count": int(str(connection.query("SELECT count() FROM events", "TSV")))}

    return app


if __name__ == "__main__":
    application = create_app(sys.argv[2], async_insert="--async-insert" in sys.argv)
    uvicorn.run(application, port=int(sys.argv[1]), log_level="error", access_log=False)
