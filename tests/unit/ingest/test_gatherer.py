"""Single events gathered: each has its own outcome, and the books know all of them."""

import asyncio

import orjson
import pytest

from ingest.errors import BufferFullError, PayloadError, RejectedError, ShuttingDownError
from ingest.gatherer import Gatherer, Taken
from tests.unit.ingest.parts import Parts, events
from tests.unit.ingest.test_ingestor import outcome


def gatherer(parts: Parts, *, wait_s: float = 0.002, events_max: int = 100) -> Gatherer:
    return Gatherer(
        ingestor=parts.ingestor,
        settled=parts.journal.settled,
        durable=True,
        wait_s=wait_s,
        events_max=events_max,
    )


async def take(gathering: Gatherer, bodies: list[bytes]) -> list[Taken | BaseException]:
    return await asyncio.gather(*map(gathering.take, bodies), return_exceptions=True)


def texts(count: int) -> list[bytes]:
    return [orjson.dumps(event) for event in events(count)]


def test_events_at_the_same_time_become_one_record_batch() -> None:
    parts = Parts()
    replies = asyncio.run(take(gatherer(parts), texts(30)))
    assert replies == [(f"id-{number}", False) for number in range(30)]
    assert parts.ring.fill().slots == 1
    assert outcome(parts) == {"received": 30, "accepted": 30, "in_flight": 30}


def test_so_many_events_are_not_gathered_longer() -> None:
    parts = Parts()
    replies = asyncio.run(take(gatherer(parts, wait_s=3600, events_max=10), texts(20)))
    assert len(replies) == 20
    assert parts.ring.fill().slots == 2


def test_bad_bodies_keep_nothing_from_the_good_ones_beside_them() -> None:
    parts = Parts()
    first, second, *_ = texts(2)
    bodies = [b"{", first, b'{"name":"e"}', second, first]
    cut, one, unnamed, two, again = asyncio.run(take(gatherer(parts), bodies))
    assert isinstance(cut, PayloadError)
    assert isinstance(unnamed, RejectedError)
    assert (unnamed.errors[0].index, unnamed.errors[0].field) == (0, "channel_type")
    assert (one, two, again) == (("id-0", False), ("id-1", False), ("id-0", True))
    books = {"received": 4, "accepted": 2, "in_flight": 2, "rejected": 1, "duplicate": 1}
    assert outcome(parts) == books


def test_a_full_buffer_refuses_all_and_takes_them_later() -> None:
    parts = Parts(rows_max=10)

    async def main() -> None:
        gathering = gatherer(parts)
        await take(gathering, [orjson.dumps(e) for e in events(10, user_id="first")])
        more = [orjson.dumps(e | {"id": f"more-{n}"}) for n, e in enumerate(events(5))]
        refused = await take(gathering, more)
        assert all(isinstance(reply, BufferFullError) for reply in refused)
        slots, _ = parts.ring.take(rows=1, bytes=1, age_s=0)
        parts.ring.release(slots)
        assert await take(gathering, more) == [(f"more-{n}", False) for n in range(5)]

    asyncio.run(main())


def test_after_a_close_nothing_is_taken() -> None:
    parts = Parts()

    async def main() -> None:
        gathering = gatherer(parts)
        waiting = gathering.take(texts(1)[0])
        parts.ingestor.close()
        with pytest.raises(ShuttingDownError):
            await waiting

    asyncio.run(main())
    assert outcome(parts) == {}
