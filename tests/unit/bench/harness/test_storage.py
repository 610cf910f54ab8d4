"""A measurement gets an empty storage, and a server only if it asks for one."""

from pathlib import Path

import clickhouse_connect

from bench.harness.storage import Storage, StorageKind, running_storage


def test_the_embedded_engine_needs_no_options(tmp_path: Path) -> None:
    with running_storage(StorageKind.EMBEDDED, tmp_path) as storage:
        assert storage == Storage()
        assert storage.options == ()


def test_a_server_that_runs_already_is_used_and_not_observed(tmp_path: Path) -> None:
    url = "http://user:word@host:8123/empty"
    with running_storage(StorageKind.SERVER, tmp_path, url) as storage:
        assert storage.options == ("--clickhouse-url", url)
        assert storage.server is None


def test_a_server_is_started_with_an_empty_database(tmp_path: Path) -> None:
    with running_storage(StorageKind.SERVER, tmp_path) as storage:
        client = clickhouse_connect.get_client(dsn=storage.url)
        assert not client.query("SHOW TABLES").result_rows
        client.command("SELECT sum(sipHash64(number)) FROM numbers(20000000)")
        client.close()
        assert storage.server is not None
        assert storage.server.cpu_s() > 0
        assert storage.server.rss_peak_bytes() >= storage.server.rss_bytes() > 0
