"""Every endpoint of queries over HTTP: results, formats, errors and the cache."""

import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import pytest
import urllib3
from pyarrow import csv

from bench.harness.service import Service
from tests.contract.redis_server import running_redis
from tests.end_to_end.api import event, post
from tests.faults.harness import wait_until

Pairs = list[tuple[str, str]]
RANGE: Pairs = [("from", "2024-03-01"), ("to", "2024-03-31")]


@pytest.fixture(scope="module")
def shop(service: Service) -> Service:
    """Store the events of ann, who views and buys, of bob, who views, and of an anonymous view."""
    events = [
        sold("ann", "view", "2024-03-01T10:00:00Z", "web", page="home", seconds=10),
        sold("ann", "add", "2024-03-01T10:05:00Z", "web", page="home", seconds=30),
        sold("ann", "buy", "2024-03-01T10:10:00Z", "mobile", items=True),
        sold("bob", "view", "2024-03-02T10:00:00Z", "mobile", page="sale", seconds=50),
        sold("", "view", "2024-03-08T10:00:00Z", "web", page="sale"),
        sold("ann", "view", "2024-03-09T10:00:00Z", "web", page="sale"),
    ]
    assert post(service, "/events/batch", {"events": events}).status == 201
    assert ask(service, "metrics", [("event_name", "q_view"), *RANGE])["total_count"] == 4
    return service


def sold(
    user: str,
    name: str,
    date: str,
    channel: str,
    *,
    page: str = "",
    seconds: float | None = None,
    items: bool = False,
) -> dict[str, Any]:
    params: list[dict[str, Any]] = [{"key": "page", "string_value": page}] if page else []
    params += [{"key": "seconds", "number_value": seconds}] if seconds is not None else []
    fields: dict[str, Any] = {"event_params": params, "date": date, "channel_type": channel}
    if items:
        fields["items"] = [
            {"id": "shoe", "brand": "Acme", "revenue_in_usd": 20.0, "quantity": 2},
            {"id": "sock", "brand": "Toe", "revenue_in_usd": 5.5, "quantity": 1},
        ]
    return event(f"q_{name}", id=f"{user}-{name}-{date}", user_id=user, **fields)


def ask(service: Service, endpoint: str, pairs: Pairs, **headers: str) -> dict[str, Any]:
    """Return the document of a query that runs after a flush."""
    reply = get(service, endpoint, [*pairs, ("consistency", "flushed")], **headers)
    assert reply.status == 200, reply.data
    result: dict[str, Any] = reply.json()
    return result


def get(service: Service, endpoint: str, pairs: Pairs, **headers: str) -> urllib3.BaseHTTPResponse:
    path = f"/events/{endpoint}".rstrip("/") + "?" + urlencode(pairs)
    return service.request("GET", path, headers=headers)


def test_groups_filters_and_measures(shop: Service) -> None:
    result = ask(
        shop,
        "metrics",
        [
            ("event_name", "q_view"), *RANGE, ("group_by", "channel"), ("group_by", "param.page"),
            ("param.seconds>", "10"), ("measure", "avg:param.seconds"), ("order", "-total_count"),
        ],
    )  # fmt: skip
    assert result["total_count"] == 2
    assert result["measures"] == {"avg:param.seconds": 30.0}
    assert result["grouped_metrics"] == [
        {"group_key": "mobile / sale", "group": {"channel": "mobile", "param.page": "sale"},
         "total_count": 1, "unique_user_count": 1, "measures": {"avg:param.seconds": 50.0}},
        {"group_key": "web / home", "group": {"channel": "web", "param.page": "home"},
         "total_count": 1, "unique_user_count": 1, "measures": {"avg:param.seconds": 10.0}},
    ]  # fmt: skip
    revenue = ask(
        shop, "metrics", [("event_name", "q_buy"), *RANGE, ("group_by", "item_brand"),
                          ("measure", "revenue")]
    )  # fmt: skip
    assert [(g["group_key"], g["measures"]["revenue"]) for g in revenue["grouped_metrics"]] == [
        ("Acme", 20.0),
        ("Toe", 5.5),
    ]
    assert revenue["total_count"] == 1


def test_a_series_in_a_zone_without_gaps_next_to_an_earlier_one(shop: Service) -> None:
    result = ask(
        shop,
        "metrics",
        [
            ("event_name", "q_view"), ("from", "2024-03-08"), ("to", "2024-03-10"),
            ("tz", "Pacific/Auckland"), ("interval", "day"), ("fill", "true"),
            ("compare", "previous"),
        ],
    )  # fmt: skip
    assert [(p["time"], p["total_count"]) for p in result["series"]] == [
        ("2024-03-08", 1),
        ("2024-03-09", 1),
        ("2024-03-10", 0),
    ]
    assert result["from"] == "2024-03-08T00:00:00+13:00"
    assert result["compare"]["total_count"] == 0


def test_top_names_properties_funnel_and_retention(shop: Service) -> None:
    top = ask(shop, "top", [*RANGE, ("event_name^", "q_"), ("limit", "1")])
    assert top["top"] == [{"key": "q_view", "total_count": 4, "unique_user_count": 2}]
    names = ask(shop, "names", [*RANGE, ("event_name^", "q_")])["names"]
    assert names[0] == {
        "event_name": "q_view",
        "total_count": 4,
        "first_seen": "2024-03-01T10:00:00.000Z",
        "last_seen": "2024-03-09T10:00:00.000Z",
    }
    properties = ask(shop, "properties", [("event_name", "q_view"), *RANGE])["properties"]
    assert [(p["key"], p["total_count"], p["types"]) for p in properties] == [
        ("page", 4, {"string": 4}),
        ("seconds", 2, {"number": 2}),
    ]
    funnel = ask(
        shop, "funnel", [("step", "q_view"), ("step", "q_add?param.page=home"), ("step", "q_buy"),
                         *RANGE, ("window", "30min")]
    )  # fmt: skip
    assert [step["users"] for step in funnel["steps"]] == [2, 1, 1]
    retention = ask(
        shop, "retention", [("first_event", "q_view"), *RANGE, ("period", "week"), ("periods", "3"),
                            ("event_name^", "q_")]
    )  # fmt: skip
    assert retention["cohorts"] == [{"cohort": "2024-02-26", "users": 2, "retained": [2, 1, 0]}]


def test_events_come_back_page_by_page_as_they_were_sent(shop: Service) -> None:
    pairs = [*RANGE, ("event_name^", "q_"), ("limit", "4")]
    first = ask(shop, "", pairs)
    second = ask(shop, "", [*pairs, ("cursor", first["next_cursor"])])
    found = first["events"] + second["events"]
    assert second["next_cursor"] is None
    assert [e["event_time"] for e in found] == sorted([e["event_time"] for e in found])[::-1]
    assert len({e["id"] for e in found}) == len(found) == 6
    [bought] = ask(shop, "", [("id", "ann-buy-2024-03-01T10:10:00Z")])["events"]
    assert bought["items"][0] == {
        "id": "shoe", "brand": "Acme", "revenue_in_usd": 20.0, "quantity": 2
    }  # fmt: skip
    assert bought["channel_type"] == "mobile"
    assert ask(shop, "", [("user", "bob"), *RANGE])["events"][0]["name"] == "q_view"


@pytest.mark.parametrize("media_type", ["application/json", "text/csv"])
def test_a_truncated_list_is_marked_in_every_format(shop: Service, media_type: str) -> None:
    names = [("event_name", name) for name in ("q_view", "q_add", "q_buy")]
    for name, pairs in (
        ("metrics", [*names, ("group_by", "event_name")]), ("top", [*names]), ("names", []),
        ("properties", [*names]),
        ("metrics", [*names, ("group_by", "event_name"), ("other", "false")]),
    ):  # fmt: skip
        for _ in range(2):  # the second response comes from the cache
            cut = get(shop, name, [*pairs, *RANGE, ("limit", "1")], Accept=media_type)
            assert cut.headers["Event-Stream-Truncated"] == "true", name
        whole = get(shop, name, [*pairs, ("limit", "1000")], Accept=media_type)
        assert "Event-Stream-Truncated" not in whole.headers, name
        if media_type == "application/json":
            assert cut.json()["truncated"] is True
            assert whole.json()["truncated"] is False


def test_csv_and_arrow_have_the_same_rows(shop: Service) -> None:
    pairs = [("event_name", "q_view"), *RANGE, ("group_by", "channel"), ("measure", "max:param.x")]
    text = get(shop, "metrics", pairs, Accept="text/csv")
    stream = get(shop, "metrics", pairs, Accept="application/vnd.apache.arrow.stream")
    assert text.headers["Content-Type"] == "text/csv"
    with pa.ipc.open_stream(stream.data) as reader:
        table = reader.read_all()
    expected = {
        "channel": ["mobile", "web"], "other": [0, 0], "total_count": [1, 3],
        "unique_user_count": [1, 1], "max:param.x": [None, None],
    }  # fmt: skip
    assert table.to_pydict() == expected
    assert csv.read_csv(io.BytesIO(text.data)).to_pydict() == expected
    empty = get(shop, "top", [("event_name", "q_never")], Accept="text/csv")
    assert empty.data == b'"event_name","other","total_count","unique_user_count"\n'


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "text/html,application/xhtml+xml,*/*;q=0.8", "text/plain"]
)
def test_other_clients_get_json(shop: Service, accept: str) -> None:
    reply = get(shop, "names", RANGE, Accept=accept)
    assert reply.headers["Content-Type"] == "application/json"
    assert "names" in reply.json()


def test_no_text_becomes_sql(shop: Service) -> None:
    nasty = ["' OR 1=1 --", "{v0:String}", "x\\", "'; DROP TABLE events; --", "%s", '日本`"\n\t']
    for text in nasty:
        pairs = [("event_name", "q_view"), *RANGE, (f"param.{text}", text), ("os", text)]
        assert ask(shop, "metrics", pairs)["total_count"] == 0
        pairs = [("event_name", "q_view"), *RANGE, (f"param.{text}!", text)]
        result = ask(shop, "metrics", [*pairs, ("group_by", f"param.{text}")])
        assert result["total_count"] == 4
        assert post(shop, "/events", event(text, id=text, os=text)).status == 201
        assert ask(shop, "metrics", [("event_name", text)])["total_count"] == 1
        [found] = ask(shop, "", [("id", text)])["events"]
        assert found["name"] == text


def test_a_response_says_its_age_and_a_late_event_shows_in_time(
    new_service: Callable[..., Service],
) -> None:
    # Each worker has a cache of its own, so ages differ between workers.
    service = new_service(EVENT_STREAM_CACHE__CLOSED_SECONDS="2")
    service.start()
    pairs = [("event_name", "late"), *RANGE]
    assert get(service, "metrics", pairs).json()["total_count"] == 0
    post(service, "/events", event("late", date="2024-03-05T00:00:00Z"), Prefer="ack=stored")
    stored_s = time.monotonic()
    while True:
        asked_s = time.monotonic()
        reply = get(service, "metrics", pairs)
        assert reply.headers["Cache-Control"].startswith("private, max-age=")
        assert 0 <= int(reply.headers["Age"]) <= 2
        if reply.json()["total_count"] == 1:
            break
        assert asked_s - stored_s < 2, "older than stated"
        time.sleep(0.05)
    # With consistency=flushed, the event is there at once.
    post(service, "/events", event("late", date="2024-03-06T00:00:00Z"))
    assert ask(service, "metrics", pairs)["total_count"] == 2


def test_too_many_queries_are_refused_and_ingestion_goes_on(
    new_service: Callable[..., Service],
) -> None:
    service = new_service(
        EVENT_STREAM_QUERY__CONCURRENCY="1",
        EVENT_STREAM_QUERY__WAITING="0",
        EVENT_STREAM_CACHE__OPEN_SECONDS="0",
    )
    service.start()

    def one(number: int) -> tuple[int, str | None]:
        pairs = [("event_name", f"e{number}")]
        reply = get(service, "metrics", pairs)
        return reply.status, reply.headers.get("Retry-After")

    with ThreadPoolExecutor(32) as threads:
        replies = list(threads.map(one, range(200)))
        accepted = post(service, "/events", event("meanwhile"))
    assert accepted.status == 201
    assert set(replies) == {(200, None), (429, "1")}


def test_queries_of_disconnected_clients_are_cancelled(
    new_service: Callable[..., Service],
) -> None:
    service = new_service(
        EVENT_STREAM_QUERY__CONCURRENCY="1",
        EVENT_STREAM_QUERY__WAITING="1000",
        EVENT_STREAM_CACHE__OPEN_SECONDS="0",
    )
    service.start()
    asking = []
    for number in range(300):
        connection = HTTPConnection("127.0.0.1", service.port)
        connection.request("GET", f"/events/metrics?event_name=e{number}&group_by=param.x")
        asking.append(connection)
    for connection in asking:
        connection.close()
    wait_until(lambda: abandoned(service) > 10)
    assert get(service, "metrics", [("event_name", "after")]).status == 200


def abandoned(service: Service) -> float:
    text = service.request("GET", "/metrics").data.decode()
    prefix = "event_stream_queries_abandoned_total{"
    lines = [line for line in text.splitlines() if line.startswith(prefix)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_responses_are_shared_through_redis_and_redis_may_fail(
    new_service: Callable[..., Service], tmp_path: Path
) -> None:
    with running_redis(tmp_path) as redis:
        service = new_service(
            EVENT_STREAM_REDIS_URL=redis.url, EVENT_STREAM_CACHE__CLOSED_SECONDS="60"
        )
        service.start()
        pairs = [("event_name", "shared"), *RANGE]
        assert get(service, "metrics", pairs).json()["total_count"] == 0
        post(service, "/events", event("shared", date="2024-03-05T00:00:00Z"), Prefer="ack=stored")
        for _ in range(10):
            service.http.clear()  # a connection stays with its worker: open new ones
            assert get(service, "metrics", pairs).json()["total_count"] == 0
        with redis.frozen():
            assert get(service, "metrics", pairs).json()["total_count"] == 1
    assert get(service, "metrics", pairs).json()["total_count"] == 1
    assert "event_stream_cache_up" in service.request("GET", "/metrics").data.decode()
