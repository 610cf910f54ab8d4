"""RequestBatcher: each request of a group has its own outcome, and all events are counted."""

import asyncio
from collections.abc import Sequence

import orjson
import pytest

from ingest.errors import BufferFullError, PayloadError, RejectedError, ShuttingDownError
from ingest.parsing.batch import Group
from ingest.parsing.formats import BodyFormat
from ingest.parsing.parser import Parser
from ingest.pipeline.batcher import RequestBatcher
from ingest.pipeline.request import Receipt
from tests.unit.ingest.pipeline.parts import Parts, events, outcome, request


def batcher(
    parts: Parts,
    body_format: BodyFormat = BodyFormat.EVENT,
    parser: Parser | None = None,
    **limits: int,
) -> RequestBatcher:
    return RequestBatcher(
        body_format,
        parser=parser or parts.parser,
        committer=parts.committer,
        durable=True,
        **{"requests_max": 100, **limits},
    )


async def take(batching: RequestBatcher, bodies: list[bytes]) -> list[Receipt | BaseException]:
    return await asyncio.gather(*map(batching.add, bodies), return_exceptions=True)


def receipt(*ids: str, duplicates: int = 0) -> Receipt:
    return Receipt(list(ids), duplicates, ())


def texts(count: int) -> list[bytes]:
    return [orjson.dumps(event) for event in events(count)]


def test_events_at_the_same_time_become_one_record_batch() -> None:
    parts = Parts()
    replies = asyncio.run(take(batcher(parts), texts(30)))
    assert replies == [receipt(f"id-{number}") for number in range(30)]
    assert parts.ring.usage().slots == 1
    assert outcome(parts) == {"received": 30, "accepted": 30, "in_flight": 30}


def test_requests_that_arrive_while_a_group_is_under_way_are_the_next_group() -> None:
    parts = Parts()
    groups: list[int] = []

    async def main() -> None:
        is_free = asyncio.Event()

        class SlowParser(Parser):
            async def parse_group(self, body_format: BodyFormat, bodies: Sequence[bytes]) -> Group:
                groups.append(len(bodies))
                await is_free.wait()
                return await super().parse_group(body_format, bodies)

        slow = SlowParser(decompressed_bytes_max=1 << 20, events_max=1_000)
        batching = batcher(parts, parser=slow)
        replies = [batching.add(body) for body in texts(3)]
        await asyncio.sleep(0.01)
        for body in [orjson.dumps(e | {"id": f"more-{n}"}) for n, e in enumerate(events(4))]:
            replies.append(batching.add(body))
            await asyncio.sleep(0.01)
        assert groups == [3]
        is_free.set()
        await asyncio.gather(*replies)

    asyncio.run(main())
    assert groups == [3, 4]


def test_a_group_starts_when_it_has_enough_requests() -> None:
    parts = Parts()
    replies = asyncio.run(take(batcher(parts, requests_max=10), texts(20)))
    assert len(replies) == 20
    assert parts.ring.usage().slots == 2


def test_invalid_bodies_do_not_affect_the_valid_bodies_of_a_group() -> None:
    parts = Parts()
    first, second, *_ = texts(2)
    bodies = [b"{", first, b'{"name":"e"}', second, first]
    cut, one, unnamed, two, again = asyncio.run(take(batcher(parts), bodies))
    assert isinstance(cut, PayloadError)
    assert isinstance(unnamed, RejectedError)
    assert (unnamed.errors[0].index, unnamed.errors[0].field) == (0, "channel_type")
    assert (one, two, again) == (receipt("id-0"), receipt("id-1"), receipt("id-0", duplicates=1))
    counts = {"received": 4, "accepted": 2, "in_flight": 2, "rejected": 1, "duplicate": 1}
    assert outcome(parts) == counts


def test_events_refused_by_a_full_buffer_are_accepted_later() -> None:
    parts = Parts(rows_max=10)

    async def main() -> None:
        batching = batcher(parts)
        await take(batching, [orjson.dumps(e) for e in events(10, user_id="first")])
        more = [orjson.dumps(e | {"id": f"more-{n}"}) for n, e in enumerate(events(5))]
        refused = await take(batching, more)
        assert all(isinstance(reply, BufferFullError) for reply in refused)
        slots, _ = parts.ring.take(rows=1, bytes=1, age_s=0)
        parts.ring.release(slots)
        assert await take(batching, more) == [receipt(f"more-{n}") for n in range(5)]

    asyncio.run(main())


def test_requests_are_refused_after_close() -> None:
    parts = Parts()

    async def main() -> None:
        batching = batcher(parts)
        waiting = batching.add(texts(1)[0])
        parts.committer.close()
        with pytest.raises(ShuttingDownError):
            await waiting

    asyncio.run(main())
    assert outcome(parts) == {}


def lists(sizes: list[int], **fields: str) -> list[bytes]:
    """Return a body for each size, with so many events. All events are different."""
    made = iter(events(sum(sizes), **fields))
    return [orjson.dumps({"events": [next(made) for _ in range(size)]}) for size in sizes]


def receipts(sizes: list[int]) -> list[Receipt]:
    ids = iter(f"id-{number}" for number in range(sum(sizes)))
    return [receipt(*(next(ids) for _ in range(size))) for size in sizes]


# With the long text the bodies are parsed together as columns, with the short text one by one.
@pytest.mark.parametrize("text", ["short", "long" * 1_000])
def test_batches_at_the_same_time_become_one_record_batch(text: str) -> None:
    parts, sizes = Parts(), [3, 1, 0, 40, 2]
    replies = asyncio.run(take(batcher(parts, BodyFormat.BATCH), lists(sizes, user_id=text)))
    assert replies == receipts(sizes)
    assert parts.ring.usage().slots == 1
    assert outcome(parts) == {"received": 46, "accepted": 46, "in_flight": 46}


@pytest.mark.parametrize("text", ["short", "long" * 1_000])
def test_each_batch_hears_of_its_own_duplicates_and_errors(text: str) -> None:
    parts = Parts()
    first, second, third = lists([20, 30, 40], user_id=text)
    bodies = [first, b"[{}, {}]", second, b"{", third, second]

    async def main() -> None:
        batching = batcher(parts, BodyFormat.BATCH)
        assert await take(batching, [third]) == receipts([20, 30, 40])[2:]
        one, invalid, two, cut, earlier, again = await take(batching, bodies)
        assert [one, two] == receipts([20, 30])
        assert earlier == receipt(*(f"id-{n}" for n in range(50, 90)), duplicates=40)
        assert again == receipt(*(f"id-{n}" for n in range(20, 50)), duplicates=30)
        assert isinstance(invalid, RejectedError)
        assert [error.index for error in invalid.errors] == [0, 1]
        assert isinstance(cut, PayloadError)
        # The same without the two invalid bodies, so that all bodies are plainly valid.
        again, earlier = await take(batching, [second, third])
        assert (again.duplicates, earlier.duplicates) == (30, 40)

    asyncio.run(main())
    counts = outcome(parts)
    assert counts["received"] == 40 + 20 + 2 + 30 + 40 + 30 + 70
    assert (counts["accepted"], counts["rejected"], counts["duplicate"]) == (90, 2, 140)


def test_a_group_starts_when_it_has_enough_bytes() -> None:
    parts, sizes = Parts(), [10] * 20
    bodies = lists(sizes)
    batching = batcher(parts, BodyFormat.BATCH, bytes_max=sum(map(len, bodies[:10])))
    assert asyncio.run(take(batching, bodies)) == receipts(sizes)
    assert parts.ring.usage().slots == 2


@pytest.mark.parametrize("text", ["short", "long" * 1_000])
def test_an_idempotency_key_gives_the_same_ids_in_a_group_as_alone(text: str) -> None:
    sizes, keys = [3, 1, 40, 2], ["a", None, "b", "a"]
    bodies = [
        orjson.dumps([{"name": "e", "channel_type": "web", "user_id": text}] * size)
        for size in sizes
    ]

    async def ids_alone(body: bytes, key: str | None) -> list[str | None]:
        parts = Parts()
        asked = request(body, idempotency_key=key)
        batch = await parts.ingestor.parse(asked)
        return list((await parts.ingestor.accept(batch, asked)).ids)

    async def main() -> None:
        parts = Parts()
        batching = batcher(parts, BodyFormat.BATCH)
        receipts = await asyncio.gather(*map(batching.add, bodies, keys))
        assert parts.ring.usage().slots == 1
        for receipt, body, key in zip(receipts, bodies, keys, strict=True):
            if key is not None:
                assert list(receipt.ids) == await ids_alone(body, key)
        assert (
            receipts[3].duplicates == 2
        )  # both ids are also in the first request, which has the same key
        assert len({event_id for receipt in receipts for event_id in receipt.ids}) == 44

    asyncio.run(main())
