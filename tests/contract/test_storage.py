"""What the flusher and the metrics rely on, of the embedded engine and of a server alike."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import pytest
from clickhouse_connect.driver.client import Client

from ingest.event.arrow import TABLE_SCHEMA, TEXT_SCHEMA, to_columns
from ingest.event.text import to_structs
from ingest.parsing.strict_json import Decoded
from ingest.parsing.validation import validate
from ingest.pipeline.identity import identify
from metrics_api.endpoints.metrics import plan_metrics
from metrics_api.query.query_string import Parameters
from storage.clickhouse.reader import QueryLimits, Reader
from storage.clickhouse.writer import Writer
from storage.errors import PausedError, QueryQueueFullError, TransientError
from storage.tables.inspection import recent_keys
from storage.tables.migrations import migrate
from storage.tables.rollups import ROLLUPS
from storage.tables.schema import EVENTS_TABLE
from tests.end_to_end.test_contract import FULL

RECEIVED_US = 1_800_000_000_000_000
Connect = Callable[[], Client]


def table(raw: Sequence[Any], *, received_us: int = RECEIVED_US) -> pa.Table:
    """Events as the flusher hands them to the writer."""
    batch = validate(Decoded(list(raw), False))
    assert not batch.rejected
    ids = identify(batch, idempotency_keys=None, received_us=received_us)
    columns = (ids.ids, ids.event_times_us, ids.key_times_us, [received_us] * len(raw))
    arrays = [
        pa.array(values, field.type)
        for values, field in zip([*columns, batch.events], TEXT_SCHEMA, strict=True)
    ]
    return to_columns(to_structs([pa.RecordBatch.from_arrays(arrays, schema=TEXT_SCHEMA)]))


def event(**fields: Any) -> dict[str, Any]:
    return {"name": "e", "channel_type": "web", **fields}


def counted(client: Client, name: str = "e", **parameters: str) -> list[tuple[int, int]]:
    """(events, users) in all."""
    query_string = urlencode({"event_name": name, **parameters})
    plan = plan_metrics(Parameters(query_string), RECEIVED_US * 2)
    rows = [client.query(s.sql, parameters=s.parameters).result_rows for s in plan.statements]
    document = plan.result(rows).document
    return [(document["total_count"], document["unique_user_count"])]


def test_a_small_insert_after_a_large_one_has_only_its_own_rows(connected: Connect) -> None:
    writer = Writer(connected, EVENTS_TABLE)
    sizes = (3, 2_000, 1, 500)
    for size in sizes:
        rows = table([event(id=f"{size}-{n}") for n in range(size)])
        writer.write(rows, token=f"insert {size}")
    [[stored]] = connected().query(f"SELECT count() FROM {EVENTS_TABLE}").result_rows
    assert stored == sum(sizes)


def test_every_field_comes_back_and_absent_is_not_zero(connected: Connect) -> None:
    writer = Writer(connected, EVENTS_TABLE)
    writer.write(table([FULL, event(id="bare")]), token="fields")
    client = connected()
    rows = list(client.query(f"SELECT * FROM {EVENTS_TABLE} ORDER BY name DESC").named_results())
    full, bare = rows
    at = datetime(2024, 1, 15, 10, tzinfo=UTC)
    expected = {
        "id": "full-1", "name": "full", "channel_type": "mobile", "event_time": at, "key_time": at,
        "date": at, "timestamp": 1705312800, "previous_timestamp": 1705312700,
        "user_id": "u1", "user_pseudo_id": "p1",
        "event_params.key": ["zero", "no", "empty", "absent"],
        "event_params.number_value": [0.0, None, None, None],
        "event_params.boolean_value": [None, False, None, None],
        "event_params.string_value": [None, None, "", None],
        "user_params.key": ["plan"], "user_params.string_value": ["pro"],
        "device_category": "mobile", "device_browser_name": "Chrome", "device_language": "",
        "app_info_id": "app", "app_info_version": "1",
        "geo_country": "Sweden", "geo_city": "Stockholm",
        "items.id": ["i1", "i2"], "items.name": ["Shoe", ""], "items.location_id": ["l1", ""],
        "items.list_id": ["li", ""], "items.list_name": ["List", ""],
        "items.promotion_id": ["pr", ""], "items.promotion_name": ["Promo", ""],
        "items.price_in_usd": [9.5, None], "items.revenue_in_usd": [19.0, None],
        "items.quantity": [2, None], "items.params.key": [["size"], []],
        "items.params.number_value": [[42.0], []],
    }  # fmt: skip
    for name, value in expected.items():
        actual = list(full[name]) if isinstance(full[name], tuple) else full[name]
        if isinstance(actual, datetime):
            actual = actual.replace(tzinfo=UTC)
        assert actual == value, name
    assert bare["timestamp"] is None
    assert bare["date"] is None
    assert list(bare["items.quantity"]) == []


def test_every_column_of_the_definition_is_in_the_table(connected: Connect) -> None:
    names = set(connected().query(f"SELECT * FROM {EVENTS_TABLE} LIMIT 0").column_names)
    assert names == set(TABLE_SCHEMA.names)


@pytest.mark.parametrize(
    "value",
    [
        event(id="with-time", date="2024-01-31T23:59:59.999999Z"),
        event(id="without-time"),
        event(id="0190b6f0-0000-7000-8000-000000000001"),
        event(timestamp=1_706_745_599),
    ],
    ids=["id and time", "id alone", "id with a time in it", "time alone"],
)
def test_an_event_that_arrives_again_months_later_counts_once(
    connected: Connect, value: dict[str, Any]
) -> None:
    writer = Writer(connected, EVENTS_TABLE)
    day_us = 86_400_000_000
    for arrival in range(5):
        late_us = RECEIVED_US + arrival * 40 * day_us
        writer.write(table([value], received_us=late_us), token=f"arrival-{arrival}")
    client = connected()
    assert counted(client) == [(1, 0)]
    client.command(f"OPTIMIZE TABLE {EVENTS_TABLE} FINAL")
    rows = client.query(f"SELECT received_at, event_time FROM {EVENTS_TABLE}").result_rows
    assert len(rows) == 1
    assert rows[0][0].replace(tzinfo=UTC).timestamp() == RECEIVED_US / 1e6  # the earliest wins


def test_a_token_sent_again_writes_nothing_and_says_so_as_success(connected: Connect) -> None:
    writer = Writer(connected, EVENTS_TABLE)
    rows = table([event(id="a"), event(id="b")])
    for _ in range(3):
        writer.write(rows, token="same")
    assert connected().command(f"SELECT count() FROM {EVENTS_TABLE}") == 2


def test_a_batch_over_hundreds_of_months_is_stored(connected: Connect) -> None:
    months = [
        event(id=f"{year}-{month}", date=f"{year}-{month:02d}-01T00:00:00Z")
        for year in range(1990, 2030)
        for month in range(1, 13)
    ]
    Writer(connected, EVENTS_TABLE).write(table(months), token="months")
    assert counted(connected()) == [(480, 0)]


def test_events_of_three_centuries_make_a_bounded_number_of_parts(connected: Connect) -> None:
    months = [
        event(id=f"{year}-{month}", date=f"{year}-{month:02d}-15T10:00:00Z")
        for year in range(1970, 2300)
        for month in range(1, 13)
    ]
    Writer(connected, EVENTS_TABLE).write(table(months), token="centuries")
    client = connected()
    assert counted(client, to="2299-12-31T23:59:59Z") == [(3960, 0)]
    parts = client.command(
        "SELECT count() FROM system.parts WHERE active AND database = currentDatabase()"
        " AND startsWith(table, 'events')"
    )
    assert parts <= 30 * 12 + 30 + 2 * 33


def test_the_first_and_the_last_year_are_stored_and_found(connected: Connect) -> None:
    raw = [event(date="1970-01-01T00:00:00Z"), event(date="2299-12-31T23:59:59.999999Z")]
    Writer(connected, EVENTS_TABLE).write(table(raw), token="ends")
    client = connected()
    assert counted(client, to="9999-12-31T00:00:00Z") == [(2, 0)]
    assert counted(client, to="1970-01-01T00:00:00Z") == [(1, 0)]
    assert counted(client, **{"from": "2299-12-31T23:59:59.999999Z", "to": "2400-01-01T00:00:00Z"})[
        0
    ][0] == 1  # fmt: skip


def test_both_ends_of_a_range_are_inside(connected: Connect) -> None:
    raw = [event(date=f"2024-01-15T10:00:0{second}Z") for second in range(4)]
    Writer(connected, EVENTS_TABLE).write(table(raw), token="range")
    bounds = {"from": "2024-01-15T10:00:01Z", "to": "2024-01-15T10:00:02Z"}
    assert counted(connected(), **bounds) == [(2, 0)]


def test_users_are_told_apart_and_events_without_one_are_none(connected: Connect) -> None:
    raw = [
        event(id="1", user_id="u", user_pseudo_id="p1"),
        event(id="2", user_id="u", user_pseudo_id="p2"),
        event(id="3", user_pseudo_id="p1"),
        event(id="4"),
        event(id="5"),
    ]
    Writer(connected, EVENTS_TABLE).write(table(raw), token="users")
    assert counted(connected()) == [(5, 2)]


def test_a_missing_table_pauses_and_comes_back_by_itself(connected: Connect) -> None:
    writer = Writer(connected, EVENTS_TABLE)
    writer.write(table([event(id="1")]), token="before")
    client = connected()
    client.command(f"DROP TABLE {EVENTS_TABLE} SYNC")
    client.command("TRUNCATE TABLE schema_migrations")
    with pytest.raises(PausedError):
        writer.write(table([event(id="2")]), token="during")
    writer.write(table([event(id="2")]), token="during")
    assert counted(client) == [(1, 0)]


def test_migrating_twice_and_at_once_is_migrating_once(connected: Connect) -> None:
    client = connected()
    rollups = [name for _, table in ROLLUPS for name in (f"{table}_view", table)]
    for table in (*rollups, EVENTS_TABLE, "schema_migrations"):
        client.command(f"DROP TABLE {table} SYNC")
    clients = [connected for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda connect: connect(), clients))
    assert migrate(client, TABLE_SCHEMA) == []
    assert client.query("SELECT version FROM schema_migrations FINAL").result_rows == [
        (1,),
        (2,),
        (3,),
    ]


def test_a_field_that_the_table_lacks_is_added(connected: Connect) -> None:
    client = connected()
    wider = TABLE_SCHEMA.append(pa.field("mood", pa.string()))
    try:
        assert migrate(client, wider) == ["column mood"]
        assert migrate(client, wider) == []
    finally:
        client.command(f"ALTER TABLE {EVENTS_TABLE} DROP COLUMN mood")


def test_what_the_storage_can_not_do_is_told_by_its_code(connected: Connect) -> None:
    reader = Reader(connected, clients=2, limits=QueryLimits(1))
    with pytest.raises(TransientError) as slow:
        asyncio.run(reader.query("SELECT sum(sipHash64(number)) FROM numbers(100000000000)", {}))
    assert slow.value.code in (159, 160)
    with pytest.raises(PausedError) as missing:
        asyncio.run(reader.query("SELECT * FROM nowhere", {}))
    assert missing.value.code == 60
    reader.close()


def test_the_rollup_has_what_was_there_before_it_and_what_comes_after(connected: Connect) -> None:
    client = connected()
    for _, rollup in ROLLUPS:
        client.command(f"DROP TABLE {rollup}_view SYNC")
        client.command(f"DROP TABLE {rollup} SYNC")
    writer = Writer(connected, EVENTS_TABLE)
    Writer(lambda: client, EVENTS_TABLE).write(table([event(id="1", user_id="u")]), token="before")
    client.command(
        "ALTER TABLE schema_migrations DELETE WHERE version = 3 SETTINGS mutations_sync=1"
    )
    writer.write(table([event(id="2", user_id="u")]), token="after")  # migrates first
    writer.write(table([event(id="2", user_id="u")]), token="again")
    assert counted(client, approximate="true", to="2200-01-01T00:00:00Z") == [(2, 1)]


def test_a_query_that_nobody_waits_for_is_stopped(connected: Connect) -> None:
    reader = Reader(connected, clients=1, limits=QueryLimits(60))
    endless = "SELECT sum(sipHash64(number)) FROM numbers(100000000000)"

    async def main() -> None:
        asking = asyncio.create_task(reader.query(endless, {}))
        await asyncio.sleep(0.5)
        asking.cancel()
        # There is one client, so this waits for the first to have ended.
        assert await asyncio.wait_for(reader.query("SELECT 1", {}), 20) == [(1,)]

    asyncio.run(main())
    reader.close()


def test_a_reader_that_closes_does_not_wait_for_a_long_query(connected: Connect) -> None:
    reader = Reader(connected, clients=1, limits=QueryLimits(60))

    async def main() -> None:
        endless = "SELECT sum(sipHash64(number)) FROM numbers(100000000000)"
        asking = asyncio.create_task(reader.query(endless, {}))
        await asyncio.sleep(0.5)
        started_s = time.monotonic()
        await asyncio.to_thread(reader.close)
        assert time.monotonic() - started_s < 20
        with pytest.raises(TransientError):
            await asking

    asyncio.run(main())


def test_only_so_many_queries_wait(connected: Connect) -> None:
    reader = Reader(connected, clients=1, limits=QueryLimits(60), waiting_max=2)

    async def main() -> None:
        asking = [asyncio.create_task(reader.query("SELECT sleep(0.3)", {})) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(QueryQueueFullError):
            await reader.query("SELECT 1", {})
        await asyncio.gather(*asking)
        assert await reader.query("SELECT 1", {}) == [(1,)]

    asyncio.run(main())
    reader.close()


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ({"read_rows": 10}, 158),
        ({"result_rows": 10}, 396),
        ({"memory_bytes": 10**6}, 241),
    ],
)
def test_a_query_is_bounded_in_what_it_takes(
    connected: Connect, limit: dict[str, int], code: int
) -> None:
    reader = Reader(connected, clients=1, limits=QueryLimits(60, **limit))
    many = (
        "SELECT groupArray(toString(n)) FROM (SELECT number AS n FROM numbers(1000000)) GROUP BY n"
    )
    with pytest.raises(TransientError) as error:
        asyncio.run(reader.query(many, {}))
    assert error.value.code == code
    reader.close()


def test_a_query_that_fails_halfway_leaves_nothing_to_the_next(connected: Connect) -> None:
    reader = Reader(connected, clients=1, limits=QueryLimits(60, result_rows=100_000))

    async def main() -> None:
        for _ in range(3):
            with pytest.raises(TransientError):
                await reader.query("SELECT number FROM numbers_mt(3000000) ORDER BY number", {})
            assert await reader.query("SELECT number FROM numbers(2)", {}) == [(0,), (1,)]

    asyncio.run(main())
    reader.close()


def test_recent_ids_are_as_many_as_asked_for_whatever_a_question_may_have(
    connected: Connect,
) -> None:
    rows = table([event(id=f"id-{number}") for number in range(20)])
    Writer(connected, EVENTS_TABLE).write(rows, token="recent")
    reader = Reader(connected, clients=1, limits=QueryLimits(60, result_rows=5, read_rows=5))
    ids = asyncio.run(recent_keys(reader, seconds=10**9, limit=15))
    assert len(ids) == 15
    reader.close()


def test_recent_ids_are_the_last_ones_and_none_that_are_older(connected: Connect) -> None:
    writer = Writer(connected, EVENTS_TABLE)
    now_us = time.time_ns() // 1000
    for age_s in (0, 30, 10, 400, 20):
        rows = table(
            [event(id=f"{age_s}-{n}") for n in range(3)], received_us=now_us - age_s * 10**6
        )
        writer.write(rows, token=str(age_s))
    reader = Reader(connected, clients=1, limits=QueryLimits(60))

    def recent(seconds: int, limit: int) -> list[int]:
        """The ages, oldest first."""
        ids = asyncio.run(recent_keys(reader, seconds=seconds, limit=limit))
        return [int(event_id.partition("-")[0]) for event_id in ids]

    assert recent(300, 100) == [30] * 3 + [20] * 3 + [10] * 3 + [0] * 3
    assert recent(300, 6) == [10] * 3 + [0] * 3
    assert recent(300, 4) == [10] + [0] * 3
    connected().command(f"TRUNCATE TABLE {EVENTS_TABLE}")
    assert recent(300, 4) == []
    old = table([event(id="400")], received_us=now_us - 400 * 10**6)
    writer.write(old, token="old")
    assert recent(300, 4) == []
    reader.close()
