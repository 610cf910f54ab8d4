"""ClickHouse for the baselines, embedded or a server. Both take the same lines of JSON."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import clickhouse_connect
from clickhouse_connect.driver.httputil import get_pool_manager

from bench.baselines.plain_table import CREATE_TABLE, SETTINGS

ASYNC_INSERT = {"async_insert": 1, "wait_for_async_insert": 1}
"""ClickHouse gathers inserts, and confirms them when they are stored."""


class PlainEngine(Protocol):
    """The table of the baselines, in one kind of ClickHouse. All methods may run in any thread."""

    def insert(self, lines: str) -> None:
        """Insert events, one JSON text per line."""

    def insert_file(self, file: Path) -> None:
        """Insert a file of such lines in one insert."""

    def count(self) -> int:
        """Return the number of events in the table."""


def open_engine(place: str, *, async_insert: bool = False) -> PlainEngine:
    """Open an engine and create the table.

    Args:
        place: URL of a database on a server, or a data directory of the embedded engine.
        async_insert: whether ClickHouse gathers inserts itself.
    """
    settings = {**SETTINGS, **(ASYNC_INSERT if async_insert else {})}
    if place.startswith("http"):
        return _Server(place, settings)
    return _Embedded(place, settings)


class _Embedded:
    def __init__(self, data_dir: str, settings: Mapping[str, int]) -> None:
        import chdb  # 200 MiB, which a baseline with a server does not need

        self._connection = chdb.connect(data_dir)
        self._connection.query(CREATE_TABLE)
        self._settings = ", ".join(f"{name} = {value}" for name, value in settings.items())
        self._lock = threading.Lock()

    def insert(self, lines: str) -> None:
        self._query(f"INSERT INTO events SETTINGS {self._settings} FORMAT JSONEachRow {lines}")

    def insert_file(self, file: Path) -> None:
        self._query(
            f"INSERT INTO events FROM INFILE '{file}' SETTINGS {self._settings} FORMAT JSONEachRow"
        )

    def count(self) -> int:
        return int(self._query("SELECT count() FROM events"))

    def _query(self, sql: str) -> str:
        with self._lock:
            return str(self._connection.query(sql, "TSV"))


class _Server:
    def __init__(self, url: str, settings: Mapping[str, int]) -> None:
        # Without a session, requests of several threads run at the same time.
        self._client = clickhouse_connect.get_client(
            dsn=url, autogenerate_session_id=False, pool_mgr=get_pool_manager(maxsize=64)
        )
        self._client.command(CREATE_TABLE)
        self._settings = dict(settings)

    def insert(self, lines: str) -> None:
        self._client.raw_insert(
            "events", insert_block=lines, settings=self._settings, fmt="JSONEachRow"
        )

    def insert_file(self, file: Path) -> None:
        with file.open("rb") as opened:
            self._client.raw_insert(
                "events", insert_block=opened, settings=self._settings, fmt="JSONEachRow"
            )

    def count(self) -> int:
        return int(str(self._client.command("SELECT count() FROM events")))
