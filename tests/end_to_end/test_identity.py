"""One identity everywhere: name, id and own time, in the reply, the ledger, the table, the rollup.

Random events whose ids, names and times repeat are sent in random requests, over restarts, and with
a dedup window that forgets nearly all of them. A set of what was sent says what is right.
"""

import random
from collections.abc import Callable
from typing import Any

import pytest

from bench.harness.service import Service
from tests.end_to_end.api import books, event, metrics, post

NAMES = ["checkout", "purchase", "device-1"]
IDS = ["1", "2", "device-1", "0190b6f0-0000-7000-8000-000000000001", "ü\n"]
TIMES = [0, 1_705_312_800, 1_705_312_801, 1_705_316_399, 1_705_316_400, 4_000_000_000, None]
"""Two in one second's distance, the first and the last second of an hour, the epoch, the future."""
Identity = tuple[str, str, int | None]


def random_request(rng: random.Random, prefix: str) -> list[Identity]:
    return [
        (prefix + rng.choice(NAMES), rng.choice(IDS), rng.choice(TIMES))
        for _ in range(rng.choice((1, 1, 2, 8, 400)))
    ]


def as_event(identity: Identity) -> dict[str, Any]:
    name, event_id, time_s = identity
    return event(name, id=event_id, **({} if time_s is None else {"timestamp": time_s}))


def duplicates_told(service: Service, request: list[Identity]) -> int:
    if len(request) == 1:
        reply = post(service, "/events", as_event(request[0]))
        duplicates = int(reply.json().get("duplicate", False))
    else:
        reply = post(service, "/events/batch", {"events": [as_event(one) for one in request]})
        duplicates = reply.json().get("duplicates", 0)
    assert reply.status == 201
    return int(duplicates)


def assert_counted(service: Service, sent: set[Identity]) -> None:
    for name in {name for name, _, _ in sent}:
        expected = sum(one[0] == name for one in sent)
        rollup = metrics(service, name, approximate="true", to="2299-12-31")
        exact = metrics(service, name, to="2299-12-31")
        assert rollup["total_count"] == exact["total_count"] == expected
        # One id under many times: each hour has its own events.
        grouped = metrics(service, name, to="1999-12-31", group_by="hourly").get("grouped_metrics")
        assert sum(g["total_count"] for g in grouped or []) == sum(
            one[0] == name and one[2] == 0 for one in sent
        )


@pytest.mark.parametrize("window", ["1000000", "10"], ids=["a large window", "a tiny window"])
def test_replies_ledger_table_and_rollup_count_the_same_events(
    new_service: Callable[..., Service], window: str
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    service = new_service(EVENT_STREAM_DEDUP__IDS=window)
    service.start()
    sent: set[Identity] = set()
    total = told = 0
    for _ in range(3):
        for _ in range(15):
            request = random_request(rng, window)
            told += duplicates_told(service, request)
            total += len(request)
            sent |= set(request)
        ledger = books(service)
        assert ledger["received_total"] == ledger["accepted_total"] + ledger["duplicate_total"]
        assert_counted(service, sent)
        assert service.stop() == 0
        service.start()
    assert_counted(service, sent)
    if window == "10":
        assert told <= total - len(sent)  # the table has collapsed the others
    else:
        assert told == total - len(sent)
    assert service.stop() == 0
