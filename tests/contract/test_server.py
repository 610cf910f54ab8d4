"""What only a server has: users, URLs, TLS, time-outs, connections. On a real one."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from ingest.event.arrow import TABLE_SCHEMA
from ingest.pipeline.retrying_writer import RetryingWriter
from storage.clickhouse.client import connect
from storage.clickhouse.interruption import READ_ONLY
from storage.clickhouse.reader import TIMEOUT_MARGIN_S, QueryLimits, Reader
from storage.clickhouse.writer import Writer
from storage.errors import PausedError, StorageError, TransientError, UnavailableError
from storage.tables.migrations import migrate
from storage.tables.schema import EVENTS_TABLE
from tests.clickhouse.certificate import make_certificate
from tests.clickhouse.fault_proxy import FaultProxy
from tests.clickhouse.relay import Relay
from tests.clickhouse.server import ClickHouse, running_clickhouse
from tests.clickhouse.users import PASSWORD, SPECIAL_PASSWORD
from tests.contract.test_storage import event, table

ENDLESS = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000)"


@pytest.fixture
def url(clickhouse: ClickHouse) -> str:
    """Of a database with our tables."""
    url = clickhouse.create_database()
    migrate(connect(url), TABLE_SCHEMA)
    return url


def as_user(url: str, user: str, password: str = PASSWORD) -> str:
    return url.replace(f"app:{PASSWORD}@", f"{user}:{password}@")


def running(clickhouse: ClickHouse, marker: str) -> int:
    """How many queries with `marker` in them the server runs."""
    return int(
        clickhouse.sql(
            f"SELECT count() FROM system.processes WHERE position(query, '{marker}') > 0"
            " AND position(query, 'system.processes') = 0"
        )
    )


def test_an_insert_is_believed_though_the_server_counts_the_rows_of_the_views_too(
    url: str,
) -> None:
    rows = table([event(id=str(hour), timestamp=hour * 3600) for hour in range(8)])
    summary = connect(url).insert_arrow(EVENTS_TABLE, rows)
    assert summary.written_rows > rows.num_rows
    Writer(lambda: connect(url), EVENTS_TABLE).write(rows, token="views")


@pytest.mark.parametrize("fault", ["html-200", "error-200", "truncate", "cut", "lost-reply"])
def test_no_answer_but_a_summary_with_all_rows_confirms_an_insert(
    clickhouse: ClickHouse, url: str, fault: str
) -> None:
    rows = table([event(id=str(number)) for number in range(50)])
    with FaultProxy(clickhouse.http_port) as proxy:
        writer = Writer(lambda: connect(proxy.through(url)), EVENTS_TABLE)
        writer.open()
        proxy.fault = fault
        with pytest.raises(TransientError):
            writer.write(rows, token="same")
        proxy.fault = ""
        writer.write(rows, token="same")
    assert connect(url).command(f"SELECT count() FROM {EVENTS_TABLE}") == 50


@contextmanager
def first_bytes() -> Iterator[tuple[int, list[bytes]]]:
    """(a port, what the first client to come there sends first)."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def take() -> None:
            connection, _ = listener.accept()
            with connection:
                seen.append(connection.recv(1))

        thread = threading.Thread(target=take)
        thread.start()
        yield listener.getsockname()[1], seen
        thread.join()


@pytest.mark.parametrize(("scheme", "first"), [("https", b"\x16"), ("http", b"P")])
def test_the_scheme_of_the_url_decides_about_tls_and_not_the_port(
    scheme: str, first: bytes
) -> None:
    with first_bytes() as (port, seen), pytest.raises(UnavailableError):
        connect(f"{scheme}://app:{PASSWORD}@127.0.0.1:{port}/one", timeout_s=5)
    assert seen == [first]  # 0x16 begins a TLS handshake, P the method POST


def test_https_on_a_plain_port_fails_and_sends_no_password(url: str) -> None:
    with pytest.raises(UnavailableError, match="can't be reached"):
        connect(url.replace("http://", "https://"))


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_certificate_is_checked_against_the_authority_of_the_url(
    clickhouse: ClickHouse, url: str, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path)
    with Relay(clickhouse.http_port, certificate=certificate) as relay:
        secure = relay.through(url)
        assert secure.startswith("https://")
        with pytest.raises(UnavailableError, match="certificate"):
            connect(secure)
        for options in (f"ca_cert={certificate}", "verify=false"):
            assert connect(f"{secure}?{options}").command("SELECT 1") == 1


def test_names_and_passwords_may_have_any_character(clickhouse: ClickHouse) -> None:
    clickhouse.create_database("my-db.%20é")
    client = connect(clickhouse.url("my-db.%20é", user="special", password=SPECIAL_PASSWORD))
    assert client.command("SELECT currentUser()") == "special"
    migrate(client, TABLE_SCHEMA)
    assert client.command(f"SELECT count() FROM {EVENTS_TABLE}") == 0


@pytest.mark.parametrize(
    ("user", "password", "code", "says"),
    [
        ("app", "wrong", 516, "correct user and password"),
        ("nobody", "wrong", 516, "correct user and password"),
        ("elsewhere", PASSWORD, 516, "let the user connect from this address"),
    ],
)
def test_a_wrong_login_waits_for_an_operator(
    url: str, user: str, password: str, code: int, says: str
) -> None:
    with pytest.raises(PausedError, match=says) as error:
        connect(as_user(url, user, password))
    assert error.value.code == code
    assert password not in str(error.value).replace("wrong password", "")


def test_a_missing_database_waits_for_an_operator(clickhouse: ClickHouse) -> None:
    with pytest.raises(PausedError, match="create the database") as error:
        connect(clickhouse.url("nowhere"))
    assert error.value.code == 81


def test_a_server_that_is_not_there_is_waited_for(url: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(UnavailableError) as error:
        connect(f"http://app:{PASSWORD}@127.0.0.1:{port}/one")
    text = str(error.value)
    assert f"http://127.0.0.1:{port} can't be reached" in text
    assert "Connection refused" in text
    assert PASSWORD not in text
    assert len(text) < 300
    assert "\n" not in text


@pytest.mark.parametrize(
    ("user", "code", "says"),
    [("viewer", 164, "not read-only"), ("inserter", 497, "grant it to the user")],
)
def test_an_insert_that_the_user_may_not_do_waits_for_an_operator(
    url: str, user: str, code: int, says: str
) -> None:
    writer = Writer(lambda: connect(as_user(url, user)), EVENTS_TABLE)
    with pytest.raises(PausedError, match=says) as error:
        writer.write(table([event()]), token="no")
    assert error.value.code == code


def test_a_query_beyond_what_the_profile_allows_waits_for_an_operator(url: str) -> None:
    reader = Reader(lambda: connect(as_user(url, "constrained")), clients=1, limits=QueryLimits(30))
    with pytest.raises(PausedError, match="profile of the user") as error:
        asyncio.run(reader.query("SELECT 1", {}))
    assert error.value.code == 452
    reader.close()


def test_the_errors_of_a_server_are_told_in_one_short_line(url: str) -> None:
    reader = Reader(lambda: connect(url), clients=1, limits=QueryLimits(5))
    for sql in ("SELECT nonsense", "SELECT FROM", "SELECT * FROM nowhere", "SELECT throwIf(1)"):
        with pytest.raises(StorageError) as error:
            asyncio.run(reader.query(sql, {}))
        text = str(error.value)
        assert "\n" not in text
        assert "127.0.0.1" not in text
        assert "log_comment" not in text
        assert len(text) < 700
    reader.close()


def test_a_slow_query_is_stopped_by_the_server_and_holds_up_no_other(url: str) -> None:
    seconds = 2

    def connected() -> Client:
        return connect(url, timeout_s=seconds + TIMEOUT_MARGIN_S, settings=READ_ONLY)

    reader = Reader(connected, clients=2, limits=QueryLimits(seconds))

    async def main() -> None:
        slow = asyncio.create_task(reader.query(ENDLESS, {}))
        with pytest.raises(TransientError) as error:
            await slow
        assert error.value.code == 159
        assert await reader.query("SELECT 1", {}) == [(1,)]

    asyncio.run(main())
    reader.close()


@pytest.mark.parametrize("user", ["app", "inserter"], ids=["all rights", "no right to kill"])
def test_an_abandoned_query_ends_on_the_server_and_holds_up_no_other(
    clickhouse: ClickHouse, url: str, user: str
) -> None:
    marker = f"abandoned by {user}"
    reader = Reader(
        lambda: connect(as_user(url, user), settings=READ_ONLY), clients=1, limits=QueryLimits(60)
    )

    async def main() -> None:
        asking = asyncio.create_task(reader.query(f"{ENDLESS} /* {marker} */", {}))
        await until(lambda: running(clickhouse, marker) == 1)
        asking.cancel()
        await until(lambda: running(clickhouse, marker) == 0)
        assert await asyncio.wait_for(reader.query("SELECT 1", {}), 10) == [(1,)]

    asyncio.run(main())
    reader.close()


def test_what_reads_can_not_write(url: str) -> None:
    reader = Reader(lambda: connect(url, settings=READ_ONLY), clients=1, limits=QueryLimits(5))
    with pytest.raises(PausedError):
        asyncio.run(reader.query(f"TRUNCATE TABLE {EVENTS_TABLE}", {}))
    reader.close()


async def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline_s, "not within the time"
        await asyncio.sleep(0.05)


class NoDeadLetters:
    def add(self, rows: object, error: StorageError) -> None:
        raise AssertionError(f"set aside: {error}")


def test_a_flush_that_storage_lacks_memory_for_is_halved_until_it_fits(
    tmp_path: Path, clickhouse: ClickHouse, url: str
) -> None:
    errors: list[StorageError] = []
    rows = table([event(id=str(n), user_id=f"{n}-{'x' * 500}") for n in range(16_000)])
    writer = RetryingWriter(
        writer=Writer(lambda: connect(as_user(url, "small")), EVENTS_TABLE),
        dead_letters=NoDeadLetters(),
        failed=errors.append,
        retry_waits_s=(0.01, 0.05),
    )
    assert writer.store(rows, token="large") == 0
    assert {error.code for error in errors} == {241}
    count = "SELECT count(), uniqExact(id) FROM"
    assert connect(url).query(f"{count} {EVENTS_TABLE}").result_rows == [(16_000, 16_000)]


def test_a_server_that_hangs_fails_an_attempt_when_its_time_is_over(tmp_path: Path) -> None:
    with running_clickhouse(tmp_path) as server:
        url = server.create_database()
        migrate(connect(url), TABLE_SCHEMA)
        writer = Writer(lambda: connect(url, timeout_s=1), EVENTS_TABLE)
        writer.open()
        server.pause()
        try:
            with pytest.raises(TransientError) as error:
                writer.write(table([event()]), token="hang")
        finally:
            server.resume()
    assert error.value.code is None
