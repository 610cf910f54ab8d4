"""Answers that are kept never hide for long what was acknowledged before they were asked for."""

from datetime import UTC, datetime, timedelta

from bench.harness.service import Service
from tests.end_to_end.api import event, post
from tests.faults.harness import wait_until


def test_a_range_that_just_ended_is_not_closed_until_its_events_are_stored(
    service: Service,
) -> None:
    name = "the minute that just ended"
    now = datetime.now(UTC).isoformat()
    sent = {"events": [event(name, date=now, id=str(number)) for number in range(100)]}
    assert post(service, "/events/batch", sent).status == 201
    end = datetime.now(UTC)
    start = end - timedelta(minutes=1)
    fields = {"event_name": name, "from": start.isoformat(), "to": end.isoformat()}

    def is_answered_whole() -> bool:
        reply = service.request("GET", "/events/metrics", fields=fields)
        answer = reply.json()
        life_s = int(reply.headers["Cache-Control"].rpartition("=")[2])
        # It is printed to the millisecond.
        watermark = datetime.fromisoformat(answer["watermark"]) + timedelta(milliseconds=1)
        is_closed = watermark > end
        assert is_closed or life_s <= 1
        return bool(answer["total_count"] == 100)

    is_answered_whole()
    wait_until(is_answered_whole, timeout_s=10)
