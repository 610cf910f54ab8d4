"""Damaged Arrow streams by the ten thousand: each refused or taken, and none does any harm.

`ARROW_FUZZ=100000 uv run pytest tests/end_to_end/test_arrow_fuzz.py` sends more of them.
"""

import asyncio
import os
import time

import pytest

from bench.clients.http import post as request
from bench.clients.http import send_all
from bench.harness.service import HOST, Service
from ingest.parsing.formats import ARROW_TYPE
from tests.end_to_end.api import event, post
from tests.end_to_end.arrow_mutations import Damage, seeds

# What a stranger meets is the same whatever storage there is.
SERVICE_MODES = ("embedded",)
STREAMS = int(os.environ.get("ARROW_FUZZ", "10000"))
"""Number of damaged streams. ARROW_FUZZ changes it."""
CONNECTIONS = 8
MIB = 1024 * 1024
GROWTH_MAX = 60 * MIB
"""What the memory may grow by after the first fifth, which fills caches and the buffer."""


def test_the_streams_that_are_damaged_are_taken_whole(service: Service) -> None:
    for stream in seeds():
        reply = post(service, "/events/batch?partial=true", body=stream, content_type=ARROW_TYPE)
        assert reply.status in (201, 207), reply.data


@pytest.mark.parametrize("seed", [20_260_728])
def test_no_damage_to_a_stream_does_harm_to_the_service(service: Service, seed: int) -> None:
    damage = Damage(seed)
    pids = service.processes.pids()
    started_s = time.monotonic()

    def send(count: int) -> dict[int, int]:
        requests = (
            request(
                "/events/batch?partial=true" if n % 2 else "/events/batch",
                stream,
                host=HOST,
                content_type=ARROW_TYPE,
            )
            for n, stream in enumerate(damage.streams(count))
        )
        replies = asyncio.run(
            send_all(requests, host=HOST, port=service.port, connections=CONNECTIONS)
        )
        return replies.statuses

    first = send(STREAMS // 5)
    filled = service.processes.rss_bytes()
    rest = send(STREAMS - STREAMS // 5)
    grown = service.processes.rss_bytes() - filled
    statuses = {status: first.get(status, 0) + rest.get(status, 0) for status in first | rest}
    print(statuses, f"{time.monotonic() - started_s:.0f} s", filled // MIB, grown // MIB, "MiB")
    assert sum(statuses.values()) == STREAMS
    assert set(statuses) <= {201, 207, 400, 413}
    assert min(statuses.get(status, 0) for status in (201, 400, 413)) > STREAMS // 1_000
    assert service.processes.pids() == pids
    assert grown < GROWTH_MAX
    assert post(service, "/events", event("after_the_damage")).status == 201
    assert service.request("GET", "/debug/ledger").json()["balanced"]
