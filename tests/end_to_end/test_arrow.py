"""Events in an Arrow stream are answered, stored and counted like the same events in JSON."""

import gzip
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
import urllib3

from bench.harness.service import Service
from ingest.parsing.compression import zstd
from ingest.parsing.formats import ARROW_TYPE
from tests.end_to_end.api import count, event, metrics, post

PARAMS = pa.list_(
    pa.struct(
        {
            "key": pa.string(),
            "string_value": pa.string(),
            "number_value": pa.float64(),
            "boolean_value": pa.bool_(),
        }
    )
)
ITEM = pa.struct(
    {
        "id": pa.string(),
        "price_in_usd": pa.float64(),
        "quantity": pa.int64(),
        "params": PARAMS,
    }
)
SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "name": pa.dictionary(pa.int32(), pa.string()),
        "channel_type": pa.string(),
        "timestamp": pa.int64(),
        "previous_timestamp": pa.int64(),
        "date": pa.string(),
        "user_id": pa.large_string(),
        "event_params": PARAMS,
        "device": pa.struct({"category": pa.string(), "language": pa.string()}),
        "geo": pa.struct({"country": pa.string()}),
        "items": pa.list_(ITEM),
    }
)
START = 1_705_312_800
LARGE = 3_000
"""JSON with as many events is parsed in columns, too."""


def as_arrow(events: list[dict[str, Any]], **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        if events:
            writer.write_batch(pa.RecordBatch.from_pylist(events, SCHEMA))
    return bytes(sink.getvalue())


def send(
    service: Service, events: list[dict[str, Any]], path: str = "/events/batch", **headers: str
) -> urllib3.BaseHTTPResponse:
    return post(service, path, body=as_arrow(events), content_type=ARROW_TYPE, **headers)


def full(name: str, number: int, **fields: Any) -> dict[str, Any]:
    """An event that uses the whole schema, without nulls, and with floats for numbers."""
    params = [
        {"key": "text", "string_value": f"é{number}"},
        {"key": "number", "number_value": number + 0.5},
        {"key": "flag", "boolean_value": number % 2 == 0},
    ]
    return event(
        name,
        **{
            "timestamp": START + number,
            "previous_timestamp": (START - number) * 1_000,
            "user_id": f"user {number % 7}",
            "event_params": params,
            "device": {"category": "phone", "language": "de"},
            "geo": {"country": ("CH", "FR", "")[number % 3]},
            "items": [{"id": "i", "price_in_usd": 19.99, "quantity": number, "params": params[:1]}],
            **fields,
        },
    )


def listed(service: Service, name: str) -> list[dict[str, Any]]:
    """The stored events, without what can't be the same for two names."""
    count(service, name)  # flushes
    reply = service.request("GET", "/events", fields={"event_name": name, "limit": "100"})
    assert reply.status == 200, reply.data
    found = reply.json()["events"]
    return [{k: v for k, v in one.items() if k not in ("name", "received_at")} for one in found]


@pytest.mark.parametrize("size", [20, LARGE])
def test_the_same_events_are_answered_and_counted_the_same(service: Service, size: int) -> None:
    def events(name: str) -> list[dict[str, Any]]:
        found = [full(name, n, id=f"{n % (size - 5)}") for n in range(size)]
        return [*found, full(name, 1, id="by date", date="2024-02-01T10:00:00.123456+01:00")]

    json_name, arrow_name = f"as_json_{size}", f"as_arrow_{size}"
    in_json = post(service, "/events/batch", events(json_name))
    in_arrow = send(service, events(arrow_name))
    assert in_arrow.status == in_json.status == 201
    assert in_arrow.json() == in_json.json()
    assert listed(service, arrow_name) == listed(service, json_name) != []
    for question in ({}, {"group_by": "daily"}, {"group_by": "channel"}):
        left, right = (
            metrics(service, arrow_name, **question),
            metrics(service, json_name, **question),
        )
        for answer in (left, right):
            for name in ("event_name", "to", "watermark"):  # `to` is now
                answer.pop(name, None)
        assert left == right
    assert count(service, arrow_name) == size + 1  # those with the same id have other times


WRONG: list[dict[str, Any]] = [
    {"channel_type": "web"},
    event(""),
    event("wrong", channel_type="radio"),
    event("wrong", timestamp=-1),
    event("wrong", timestamp=10_413_792_000),
    event("wrong", date="yesterday"),
    event("wrong", id=""),
    event("wrong", user_id="a\0b"),
    event("wrong", event_params=[{"string_value": "no key"}]),
    event("wrong", items=[{"params": [{"key": "k" * 1_025}]}]),
]


@pytest.mark.parametrize("partial", [False, True])
def test_invalid_events_are_refused_the_same(service: Service, partial: bool) -> None:
    path = "/events/batch" + "?partial=true" * partial

    def events(name: str) -> list[dict[str, Any]]:
        return [full(name, 1, id="first"), *WRONG, full(name, 2, id="last")]

    in_json = post(service, path, events(f"mixed_json_{partial}"))
    in_arrow = send(service, events(f"mixed_arrow_{partial}"), path)
    assert in_arrow.status == in_json.status == (207 if partial else 400)
    assert in_arrow.json() == in_json.json()
    found = listed(service, f"mixed_arrow_{partial}")
    assert found == listed(service, f"mixed_json_{partial}")
    assert len(found) == 2 * partial
    for alone in ([], WRONG):
        assert send(service, alone, path).json() == post(service, path, alone).json()
        assert send(service, alone, path).status == post(service, path, alone).status


def test_an_event_sent_in_json_and_again_in_arrow_is_a_duplicate(service: Service) -> None:
    with_ids = [full("again", n, id=f"again-{n}") for n in range(10)]
    assert post(service, "/events/batch", with_ids).json().get("duplicates", 0) == 0
    reply = send(service, with_ids).json()
    assert (reply["ids"], reply["duplicates"]) == ([one["id"] for one in with_ids], 10)
    assert count(service, "again") == 10


@pytest.mark.parametrize("size", [10, LARGE])
def test_content_has_the_same_id_in_json_and_in_arrow(service: Service, size: int) -> None:
    name = f"content_{size}"
    events = [full(name, number) for number in range(size)]
    first = send(service, events).json()
    assert len(set(first["ids"])) == size
    again = post(service, "/events/batch", events).json()
    assert (again["ids"], again["duplicates"]) == (first["ids"], size)
    assert count(service, name) == size


def test_the_stream_may_be_compressed_inside_and_outside(service: Service) -> None:
    events = [full("compressed", number) for number in range(100)]
    plain = send(service, events).json()["ids"]
    for body, encoding in [
        (gzip.compress(as_arrow(events)), "gzip"),
        (zstd.compress(as_arrow(events)), "zstd"),
        (gzip.compress(as_arrow(events, compression="lz4")), "gzip"),
        (as_arrow(events, compression="lz4"), None),
        (as_arrow(events, compression="zstd"), None),
    ]:
        headers = {} if encoding is None else {"Content_Encoding": encoding}
        reply = post(service, "/events/batch", body=body, content_type=ARROW_TYPE, **headers)
        assert (reply.status, reply.json()) == (201, {"ids": plain, "duplicates": 100})
    assert count(service, "compressed") == 100


def test_an_idempotency_key_and_a_promise_are_kept_as_with_json(service: Service) -> None:
    events = [event("keyed_arrow")] * 3
    replies = [send(service, events, Idempotency_Key="key-arrow").json() for _ in range(2)]
    in_json = post(service, "/events/batch", events, Idempotency_Key="key-arrow").json()
    assert replies[1] == in_json == {**replies[0], "duplicates": 3}
    assert len(set(in_json["ids"])) == 3
    stored = send(service, [full("promised_arrow", 1)], Prefer="ack=stored")
    assert (stored.status, stored.headers["Preference-Applied"]) == (201, "ack=stored")
    answer = service.request("GET", "/events/metrics", fields={"event_name": "promised_arrow"})
    assert answer.json()["total_count"] == 1


def test_more_events_than_a_request_may_carry_are_too_many(service: Service) -> None:
    events = [event("many_arrow")] * 10_001
    in_arrow, in_json = send(service, events), post(service, "/events/batch", events)
    assert in_arrow.status == in_json.status == 413
    assert in_arrow.json() == in_json.json()
    assert count(service, "many_arrow") == 0


def test_a_kill_after_the_answer_loses_no_event_of_a_stream(
    new_service: Callable[..., Service],
) -> None:
    service = new_service()
    service.start()
    sent = 0
    for size in (1, 100, LARGE):
        for part in range(3):
            events = [full("survivor", n, id=f"{size}-{part}-{n}") for n in range(size)]
            assert send(service, events).status == 201
            sent += size
    before = send(service, events).json()
    service.kill()
    service.start()
    assert count(service, "survivor") == sent
    assert send(service, events).json() == before
    assert count(service, "survivor") == sent
    assert service.stop() == 0
