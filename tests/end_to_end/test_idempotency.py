"""An event is counted once, however often, by whomever and to whichever worker it is sent."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bench.harness.service import Service
from tests.end_to_end.api import books, count, event, metrics, post

UUID7 = "0190b6f0-0000-7000-8000-000000000001"  # its time is 2024-07-15

EVENTS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "an id and a time": (event("x", id="a", timestamp=1705312800), {}),
    "an id and no time": (event("x", id="b"), {}),
    "an id that holds a time": (event("x", id=UUID7), {}),
    "a time and no id": (event("x", timestamp=1706745599, user_id="u"), {}),
    "an Idempotency-Key": (event("x"), {"Idempotency_Key": "key-1"}),
}


@pytest.mark.parametrize("kind", EVENTS)
def test_a_request_sent_100_times_at_once_and_over_restarts_counts_as_one(
    new_service: Callable[..., Service], kind: str, restarting: Service
) -> None:
    value, headers = EVENTS[kind]
    value = {**value, "name": kind}
    ids = set()
    told = []

    def send(_: int) -> None:
        reply = post(restarting, "/events", value, **headers)
        assert reply.status == 201
        ids.add(reply.json()["id"])
        told.append(reply.json().get("duplicate", False))

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(send, range(50)))
    assert count(restarting, kind) == 1
    assert restarting.stop() == 0
    restarting.start()
    told.clear()
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(send, range(50)))
    assert all(told)  # what was stored lately is known again after a start
    assert len(ids) == 1
    assert count(restarting, kind) == 1
    assert metrics(restarting, kind, group_by="daily")["grouped_metrics"][0]["total_count"] == 1


@pytest.fixture(scope="module")
def restarting(new_service: Callable[..., Service]) -> Service:
    service = new_service()
    service.start()
    return service


def test_a_batch_sent_again_has_the_same_ids_in_part_and_in_whole(service: Service) -> None:
    name = "batch_again"
    batch = [event(name, timestamp=1705312800 + i) for i in range(1000)]
    first = post(service, "/events/batch", {"events": batch}).json()["ids"]
    assert len(set(first)) == 1000
    overlapping = post(service, "/events/batch", {"events": batch[500:] + batch[:1]}).json()["ids"]
    assert overlapping == first[500:] + first[:1]
    assert post(service, "/events/batch", {"events": batch}).json()["ids"] == first
    assert count(service, name) == 1000


def test_content_has_the_same_id_whichever_way_it_is_parsed(service: Service) -> None:
    # 1,000 events take the columnar path, one of them the other.
    batch = [event("two_paths", timestamp=1705312800 + i, user_id="é\n") for i in range(2000)]
    ids = post(service, "/events/batch", {"events": batch}).json()["ids"]
    assert post(service, "/events", batch[7]).json()["id"] == ids[7]
    assert count(service, "two_paths") == 2000


def test_the_same_event_twice_in_one_batch_is_one(service: Service) -> None:
    same = event("twins", id="twin")
    reply = post(service, "/events/batch", {"events": [same, same]}).json()
    assert reply == {"ids": ["twin", "twin"], "duplicates": 1}
    assert count(service, "twins") == 1


def test_an_idempotency_key_tells_the_events_of_its_batch_apart(service: Service) -> None:
    def send(key: str) -> list[str]:
        reply = post(service, "/events/batch", [event("keyed")] * 3, Idempotency_Key=key)
        return list(reply.json()["ids"])

    assert send("k1") == send("k1")
    assert not set(send("k1")) & set(send("k2"))
    assert count(service, "keyed") == 6


def test_events_that_nothing_identifies_are_all_counted(service: Service) -> None:
    for _ in range(3):
        post(service, "/events", event("anonymous"))
    assert count(service, "anonymous") == 3


def test_the_books_balance_after_all_of_it(service: Service) -> None:
    post(service, "/events", event("balance"))
    total = books(service)
    assert total["received_total"] == sum(
        total[name]
        for name in (
            "stored_total", "duplicate_total", "rejected_total", "refused_total", "in_flight",
        )
    )  # fmt: skip


@pytest.mark.parametrize("ack", ["buffered", "durable", "stored"])
def test_the_promise_that_was_asked_for_is_said_to_be_applied(service: Service, ack: str) -> None:
    reply = post(service, "/events", event("promised"), Prefer=f"respond-async, ack={ack}")
    assert reply.status == 201
    assert reply.headers["Preference-Applied"] == f"ack={ack}"
    saturation = reply.headers["Event-Stream-Saturation"]
    assert re.fullmatch(r"buffer=\d\.\d{3};bytes=\d+, wal=\d\.\d{3};bytes=\d+", saturation)
    # The old name, for one version more.
    assert reply.headers["Event-Stream-Fill"] == saturation.replace("wal=", "log=")


def test_a_promise_that_there_is_not_is_refused(service: Service) -> None:
    assert post(service, "/events", event("promised"), Prefer="ack=forever").status == 400
