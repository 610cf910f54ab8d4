"""The ingestor and the committer: batching, duplicates, full buffers, and event counts."""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from ingest.errors import BufferFullError, RejectedError, ShuttingDownError
from ingest.parsing.arrow_parser import parse_lists
from ingest.parsing.formats import BodyFormat
from tests.unit.ingest.pipeline.parts import Parts, events, outcome, request, send


def test_small_requests_at_the_same_time_become_one_record_batch() -> None:
    parts = Parts()

    async def main() -> None:
        requests = [
            request(orjson.dumps(event), body_format=BodyFormat.EVENT) for event in events(30)
        ]
        receipts = await asyncio.gather(*map(parts.ingestor.ingest, requests))
        assert [receipt.ids for receipt in receipts] == [[f"id-{i}"] for i in range(30)]

    asyncio.run(main())
    assert parts.ring.usage().slots == 1
    assert parts.ring.usage().rows == 30


@pytest.mark.parametrize(
    "options", [{"idempotency_key": "key"}, {"partial": True}, {"ack": "buffered"}]
)
def test_requests_with_options_get_the_same_receipt(options: dict[str, Any]) -> None:
    parts = Parts()

    async def main() -> None:
        plain = await parts.ingestor.ingest(request(_body(events(3))))
        own = await parts.ingestor.ingest(request(_body(events(4)), **options))
        assert (plain.ids, plain.duplicates) == (["id-0", "id-1", "id-2"], 0)
        assert (own.ids, own.duplicates) == (["id-0", "id-1", "id-2", "id-3"], 3)

    asyncio.run(main())
    assert outcome(parts) == {"received": 7, "accepted": 4, "duplicate": 3, "in_flight": 4}


def test_parse_and_accept_do_the_same_as_ingest() -> None:
    parts = Parts()

    async def main() -> None:
        asked = request(_body(events(3)))
        batch = await parts.ingestor.parse(asked)
        assert batch.size == 3
        assert (await parts.ingestor.accept(batch, asked)).ids == ["id-0", "id-1", "id-2"]

    asyncio.run(main())


def test_columns_are_a_record_batch_of_their_own_without_their_duplicates() -> None:
    parts = Parts()

    async def main() -> None:
        await send(parts, events(5)[3:])
        counted = parse_lists([_body(events(5))])
        assert counted is not None
        receipt = await parts.ingestor.accept(counted[0], request())
        assert receipt.ids == [f"id-{i}" for i in range(5)]
        assert receipt.duplicates == 2

    asyncio.run(main())
    slots, _ = _take_all(parts)
    assert [slot.batch.column("id").to_pylist() for slot in slots] == [
        ["id-3", "id-4"],
        ["id-0", "id-1", "id-2"],
    ]


def _body(raw: Sequence[Any]) -> bytes:
    return orjson.dumps({"events": raw})


def _take_all(parts: Parts) -> tuple[Sequence[Any], str]:
    parts.ring.close()
    return parts.ring.take(rows=10**6, bytes=1 << 30, age_s=0)


def test_a_duplicate_is_answered_with_the_same_id_and_not_buffered_again() -> None:
    parts = Parts()

    async def main() -> None:
        await send(parts, events(3))
        receipt = await send(parts, events(3))
        assert (receipt.ids, receipt.duplicates) == (["id-0", "id-1", "id-2"], 3)

    asyncio.run(main())
    assert parts.ring.usage().rows == 3
    assert outcome(parts) == {"received": 6, "accepted": 3, "duplicate": 3, "in_flight": 3}


def test_a_duplicate_of_an_event_under_way_shares_its_outcome() -> None:
    parts = Parts(rows_max=1)

    async def main() -> None:
        await send(parts, events(1, id="first"))
        both = await asyncio.gather(
            send(parts, events(2)), send(parts, events(2)), return_exceptions=True
        )
        assert [type(result) for result in both] == [BufferFullError, BufferFullError]

    asyncio.run(main())
    assert outcome(parts) == {"received": 5, "accepted": 1, "refused": 4, "in_flight": 1}


def test_an_event_that_a_full_buffer_refused_is_not_a_duplicate_later() -> None:
    parts = Parts(rows_max=3)

    async def main() -> None:
        await send(parts, [{**e, "id": "x" + e["id"]} for e in events(3)])
        with pytest.raises(BufferFullError) as refused:
            await send(parts, events(2))
        assert refused.value.retry_after_s == 7
        slots, _ = parts.ring.take(rows=1, bytes=1, age_s=0)
        parts.ring.release(slots)
        assert (await send(parts, events(2))).duplicates == 0

    asyncio.run(main())


def test_a_cancelled_request_does_not_cancel_others() -> None:
    parts = Parts()

    async def main() -> None:
        gone = asyncio.ensure_future(send(parts, events(1)))
        stays = asyncio.ensure_future(send(parts, events(1)))
        await asyncio.sleep(0)
        gone.cancel()
        assert (await stays).ids == ["id-0"]

    asyncio.run(main())


def test_invalid_events_reject_the_request_or_only_themselves() -> None:
    parts = Parts()
    mixed = [*events(2), {"name": ""}]

    async def main() -> None:
        with pytest.raises(RejectedError):
            await send(parts, mixed)
        assert outcome(parts) == {"received": 3, "rejected": 3}
        receipt = await send(parts, mixed, partial=True)
        assert receipt.ids == ["id-0", "id-1", None]
        assert [error.index for error in receipt.rejected] == [2]

    asyncio.run(main())
    assert outcome(parts) == {"received": 6, "accepted": 2, "rejected": 4, "in_flight": 2}


def test_after_close_events_are_refused_and_accepted_events_are_buffered() -> None:
    parts = Parts()

    async def main() -> None:
        taken = asyncio.ensure_future(send(parts, events(1)))
        await asyncio.sleep(0)
        parts.committer.close()
        assert (await taken).ids == ["id-0"]
        with pytest.raises(ShuttingDownError):
            await send(parts, events(1, id="late"))

    asyncio.run(main())
    assert parts.ring.usage().rows == 1
