"""CONTRACT: what existing clients rely on, over HTTP, on both kinds of storage."""

import gzip
import zlib

import brotli
import orjson
import pytest

from bench.harness.service import Service
from ingest.parsing.compression import zstd
from tests.end_to_end.api import count, event, metrics, post

pytestmark = pytest.mark.usefixtures("service")

FULL = {
    "id": "full-1",
    "name": "full",
    "channel_type": "mobile",
    "timestamp": 1705312800,
    "previous_timestamp": 1705312700,
    "date": "2024-01-15T10:00:00Z",
    "user_id": "u1",
    "user_pseudo_id": "p1",
    "event_params": [
        {"key": "zero", "number_value": 0},
        {"key": "no", "boolean_value": False},
        {"key": "empty", "string_value": ""},
        {"key": "absent"},
    ],
    "user_params": [{"key": "plan", "string_value": "pro"}],
    "device": {"category": "mobile", "browser_name": "Chrome"},
    "app_info": {"id": "app", "version": "1"},
    "geo": {"country": "Sweden", "city": "Stockholm"},
    "items": [
        {"id": "i1", "name": "Shoe", "location_id": "l1", "list_id": "li", "list_name": "List",
         "promotion_id": "pr", "promotion_name": "Promo", "price_in_usd": 9.5,
         "revenue_in_usd": 19.0, "quantity": 2, "params": [{"key": "size", "number_value": 42}]},
        {"id": "i2"},
    ],
}  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_one_event_is_answered_with_its_id(service: Service, prefix: str) -> None:
    reply = post(service, f"{prefix}/events", event(f"single{prefix}", id=f"one{prefix}"))
    assert (reply.status, reply.json()) == (201, {"id": f"one{prefix}"})
    assert reply.headers["Content-Type"].startswith("application/json")
    assert count(service, f"single{prefix}") == 1


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_a_batch_is_answered_with_ids_in_its_order(service: Service, prefix: str) -> None:
    events = [event(f"batch{prefix}", id=f"b{prefix}{i}") for i in range(20)]
    reply = post(service, f"{prefix}/events/batch", {"events": events})
    assert (reply.status, reply.json()) == (201, {"ids": [e["id"] for e in events]})
    assert count(service, f"batch{prefix}") == 20


def test_an_empty_batch_is_fine_and_a_missing_list_is_not(service: Service) -> None:
    reply = post(service, "/events/batch", {"events": []})
    assert (reply.status, reply.json()) == (201, {"ids": []})
    reply = post(service, "/events/batch", {})
    assert (reply.status, reply.json()["code"]) == (400, 400)


@pytest.mark.parametrize(
    "content_type",
    [None, "application/json", "application/json; charset=utf-8", "text/plain;charset=UTF-8",
     "application/x-www-form-urlencoded"],
)  # fmt: skip
def test_json_is_taken_under_the_types_that_clients_send(
    service: Service, content_type: str | None
) -> None:
    reply = post(service, "/events", event("types"), content_type=content_type)
    assert reply.status == 201


@pytest.mark.parametrize("path", ["/events", "/events/batch"])
def test_another_content_type_is_415(service: Service, path: str) -> None:
    reply = post(service, path, event("xml"), content_type="application/xml")
    assert (reply.status, reply.json()["code"]) == (415, 415)


def test_one_bad_event_fails_the_batch_and_nothing_of_it_is_stored(service: Service) -> None:
    events = [event("all_or_none"), {"name": "all_or_none"}, event("all_or_none", timestamp="1")]
    reply = post(service, "/events/batch", {"events": events})
    assert reply.status == 400
    answer = reply.json()
    assert answer["code"] == 400
    assert answer["message"][0].isupper()
    assert [(e["index"], e["field"]) for e in answer["errors"]] == [
        (1, "channel_type"),
        (2, "timestamp"),
    ]
    assert count(service, "all_or_none") == 0


def test_partial_accept_stores_the_good_and_names_the_bad(service: Service) -> None:
    events = [event("partial", id="p0"), {"name": ""}, event("partial", id="p2")]
    reply = post(service, "/events/batch?partial=true", {"events": events})
    answer = reply.json()
    assert reply.status == 207
    assert answer["ids"] == ["p0", None, "p2"]
    assert answer["accepted"] == 2
    assert [rejected["index"] for rejected in answer["rejected"]] == [1]
    assert count(service, "partial") == 2


def test_partial_accept_with_no_good_event_is_400(service: Service) -> None:
    reply = post(service, "/events/batch?partial=true", {"events": [{}]})
    assert reply.status == 400


def test_a_bare_list_and_lines_are_taken_as_batches(service: Service) -> None:
    assert post(service, "/events/batch", [event("bare")] * 2).status == 201
    lines = b"\n".join(orjson.dumps(event("lines", id=f"l{i}")) for i in range(3)) + b"\n\n"
    reply = post(service, "/events/batch", body=lines, content_type="application/x-ndjson")
    assert reply.json() == {"ids": ["l0", "l1", "l2"]}
    assert count(service, "lines") == 3


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("zstd", zstd.compress), ("br", brotli.compress),
     ("deflate", zlib.compress)],
)  # fmt: skip
def test_compressed_bodies_are_taken(service: Service, encoding: str, compress) -> None:
    name = f"compressed_{encoding}"
    body = compress(orjson.dumps({"events": [event(name, id=f"{name}{i}") for i in range(1000)]}))
    reply = post(service, "/events/batch", body=body, Content_Encoding=encoding)
    assert reply.status == 201
    assert count(service, name) == 1000


def test_a_decompression_bomb_is_413_and_a_second_encoding_415(service: Service) -> None:
    bomb = gzip.compress(b"0" * (17 << 20))
    assert post(service, "/events", body=bomb, Content_Encoding="gzip").status == 413
    twice = gzip.compress(gzip.compress(b"{}"))
    assert post(service, "/events", body=twice, Content_Encoding="gzip, gzip").status == 415


def test_metrics_are_answered_as_the_contract_prints_them(service: Service) -> None:
    events = [
        event("shape", date="2024-01-15T10:05:00Z", user_id="u1"),
        event("shape", date="2024-01-15T10:06:00Z", user_id="u1", channel_type="mobile"),
        event("shape", date="2024-01-16T00:00:00Z", user_pseudo_id="p1"),
        event("shape", date="2024-02-01T00:00:00Z", user_id="u2"),
        event("shape", date="2024-01-31T23:59:59Z"),
    ]
    assert post(service, "/events/batch", {"events": events}).status == 201
    parameters = {"from": "2024-01-01T00:00:00Z", "to": "2024-01-31T23:59:59Z"}
    answer = metrics(service, "shape", **parameters)
    watermark = answer.pop("watermark")
    assert watermark.endswith("Z")
    assert answer == {
        "event_name": "shape",
        "from": "2024-01-01T00:00:00Z",
        "to": "2024-01-31T23:59:59Z",
        "total_count": 4,
        "unique_user_count": 2,
    }
    assert _groups(metrics(service, "shape", group_by="channel", **parameters)) == [
        ("mobile", 1, 1),
        ("web", 3, 2),
    ]
    assert _groups(metrics(service, "shape", group_by="daily", **parameters)) == [
        ("2024-01-15", 2, 1),
        ("2024-01-16", 1, 1),
        ("2024-01-31", 1, 0),
    ]
    assert _groups(metrics(service, "shape", group_by="hourly", **parameters)) == [
        ("2024-01-15 10:00:00", 2, 1),
        ("2024-01-16 00:00:00", 1, 1),
        ("2024-01-31 23:00:00", 1, 0),
    ]


def _groups(answer: dict) -> list[tuple[str, int, int]]:
    return [
        (group["group_key"], group["total_count"], group["unique_user_count"])
        for group in answer["grouped_metrics"]
    ]


def test_metrics_without_events_have_no_groups_and_the_earliest_from(service: Service) -> None:
    answer = metrics(service, "never_sent", group_by="channel")
    assert answer["from"] == "0001-01-01T00:00:00Z"
    assert (answer["total_count"], answer["unique_user_count"]) == (0, 0)
    assert "grouped_metrics" not in answer


@pytest.mark.parametrize(
    "query",
    ["", "event_name=", "event_name=a&from=yesterday", "event_name=a&group_by=colour",
     "event_name=a&group_by=channel);DROP TABLE events", "event_name=a&limit=none",
     "event_name=a&from=2024-01-01&from=2024-01-02", "event_name=a&consistency=never",
     "event_name=a&from=2024-02-01T00:00:00Z&to=2024-01-01T00:00:00Z"],
)  # fmt: skip
def test_a_wrong_query_is_400_with_a_sentence(service: Service, query: str) -> None:
    reply = service.request("GET", f"/events/metrics?{query}")
    answer = reply.json()
    assert (reply.status, answer["code"]) == (400, 400)
    assert answer["message"][0].isupper()


def test_swagger_ui_works_offline(service: Service) -> None:
    redirect = service.request("GET", "/swagger", redirect=False)
    assert (redirect.status, redirect.headers["Location"]) == (302, "/swagger/index.html")
    page = service.request("GET", "/swagger/index.html").data.decode()
    assert "http://" not in page
    assert "https://" not in page
    for asset in ("swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-standalone-preset.js"):
        assert f"/swagger/static/{asset}" in page
        assert service.request("GET", f"/swagger/static/{asset}").status == 200
    document = service.request("GET", "/swagger/openapi.json").json()
    assert document["openapi"].startswith("3.1")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("PUT", "/events", 405), ("POST", "/events/metrics", 405),
     ("GET", "/swagger/static/../../../pyproject.toml", 404),
     ("GET", "/swagger/static/..%2f..%2fcore.py", 404)],
)  # fmt: skip
def test_what_is_not_served_has_an_error_body_of_ours(
    service: Service, method: str, path: str, status: int
) -> None:
    reply = service.request(method, path)
    assert (reply.status, reply.json()["code"]) == (status, status)


def test_every_field_is_accepted_and_unknown_ones_are_ignored(service: Service) -> None:
    assert post(service, "/events", {**FULL, "unknown": {"deep": [1]}}).json() == {"id": "full-1"}
    assert count(service, "full") == 1
