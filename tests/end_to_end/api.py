"""The service's HTTP API, as the tests call it."""

from typing import Any

import orjson
import urllib3

from bench.harness.service import Service


def event(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "channel_type": "web", **fields}


def post(
    service: Service,
    path: str,
    value: Any = None,
    *,
    body: bytes | None = None,
    content_type: str | None = "application/json",
    **headers: str,
) -> urllib3.BaseHTTPResponse:
    """value: to be sent as JSON, unless there is a body."""
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    if content_type is not None:
        sent["Content-Type"] = content_type
    data = orjson.dumps(value) if body is None else body
    return service.request("POST", path, body=data, headers=sent)


def metrics(service: Service, name: str, **parameters: str) -> dict[str, Any]:
    """The answer to GET /events/metrics, after a flush."""
    fields = {"event_name": name, "consistency": "flushed", **parameters}
    reply = service.request("GET", "/events/metrics", fields=fields)
    assert reply.status == 200, reply.data
    answer: dict[str, Any] = reply.json()
    return answer


def count(service: Service, name: str) -> int:
    return int(metrics(service, name)["total_count"])


def books(service: Service) -> dict[str, float]:
    """The ledger's series, summed over the workers, by the last part of their name."""
    totals: dict[str, float] = {}
    for line in service.request("GET", "/metrics").data.decode().splitlines():
        if line.startswith("event_stream_events_"):
            name = line.removeprefix("event_stream_events_").partition("{")[0]
            value = float(line.rpartition(" ")[2])
            totals[name] = totals.get(name, 0) + value
    return totals
