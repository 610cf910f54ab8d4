"""Queries, off the event loop: a bounded number at a time, bounded in what each may take."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

from clickhouse_connect.driver.client import Client

from storage.client import storage_errors
from storage.errors import BusyError, StorageError, UnavailableError
from storage.rollups import ROLLUPS
from storage.schema import EVENTS_TABLE

_SETTINGS: Mapping[str, Any] = {
    # A month is the same in every copy of an event: FINAL need not look across months.
    "do_not_merge_across_partitions_select_final": 1,
    # On a cluster, a question within a question is asked once, and not by every shard again.
    "distributed_product_mode": "global",
    "result_overflow_mode": "throw",
    "read_overflow_mode": "throw",
    "timeout_overflow_mode": "throw",
}


BREAK_S = 1.0
"""After no answer, how long storage is not asked again: a queue of questions would each wait for
the same timeout."""


class Reader:
    """A query at a time for each client; further ones wait for one to be free."""

    def __init__(
        self,
        connect: Callable[[], Client],
        *,
        clients: int,
        timeout_s: int,
        waiting_max: int = 1000,
        memory_bytes_max: int = 0,
        read_rows_max: int = 0,
        result_rows_max: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """connect: makes a client, called for each of `clients` when first needed, and after a
        failure. The limits are of one query, with 0 for none; waiting_max: queries that wait for a
        client."""
        self._connect = connect
        self._settings = {
            **_SETTINGS,
            "max_execution_time": timeout_s,
            "max_memory_usage": memory_bytes_max,
            "max_rows_to_read": read_rows_max,
            "max_result_rows": result_rows_max,
        }
        self._free: SimpleQueue[Client] = SimpleQueue()
        self._threads = ThreadPoolExecutor(clients, thread_name_prefix="reader")
        self._killer = ThreadPoolExecutor(1, thread_name_prefix="killer")
        self._queries = 0
        self._queries_max = clients + waiting_max
        self._running: set[str] = set()
        self._clock = clock
        self._broken_until_s = float("-inf")

    async def query(
        self, sql: str, parameters: Mapping[str, Any], **settings: Any
    ) -> Sequence[Sequence[Any]]:
        """The rows of `sql`, whose `{name:Type}` places are bound to `parameters`.

        settings: ClickHouse's, where others than the reader's are meant. When it is cancelled,
        storage stops working at it. Raises StorageError, BusyError when too many are waiting.
        """
        if self._queries >= self._queries_max:
            raise BusyError("As many queries are waiting as may")
        tag = uuid4().hex
        settings = {**self._settings, **settings, "log_comment": tag}
        job = self._threads.submit(self._query, sql, dict(parameters), settings, tag)
        self._queries += 1
        try:
            return await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            self._killer.submit(self._kill, tag)
            raise
        finally:
            self._queries -= 1

    async def recent_ids(self, *, seconds: int, limit: int) -> list[str]:
        """The ids of the last `limit` events received in the last `seconds`, oldest first.

        Raises StorageError.
        """
        recent = f"FROM {EVENTS_TABLE} WHERE received_at >= now() - {{seconds:UInt32}}"
        last = "ORDER BY received_at DESC LIMIT {limit:UInt64}"
        rows = await self.query(
            # PERF: the times alone first, for to sort the ids of all takes 200 MB more.
            f"WITH (SELECT min(received_at) FROM (SELECT received_at {recent} {last})) AS first"
            f" SELECT id {recent} AND received_at >= first {last}",
            {"seconds": seconds, "limit": limit},
            max_result_rows=0,
            max_rows_to_read=0,
        )
        return [event_id for (event_id,) in reversed(rows)]

    async def broken_parts(self) -> list[str]:
        """Parts of the tables that storage set aside because it could not read them.

        It does so at its start and says nothing else of it. Raises StorageError.
        """
        rows = await self.query(
            "SELECT name FROM system.detached_parts WHERE database = currentDatabase()"
            " AND table IN {tables:Array(String)} AND startsWith(reason, 'broken')",
            {
                "tables": [
                    name
                    for table in (EVENTS_TABLE, *(table for _, table in ROLLUPS))
                    for name in (table, f"{table}_local")
                ]
            },
        )
        return [name for (name,) in rows]

    def _query(
        self, sql: str, parameters: dict[str, Any], settings: dict[str, Any], tag: str
    ) -> Sequence[Sequence[Any]]:
        if self._clock() < self._broken_until_s:
            raise UnavailableError("Storage did not answer a moment ago")
        try:
            return self._ask(sql, parameters, settings, tag)
        except StorageError as error:
            if error.code is None:
                self._broken_until_s = self._clock() + BREAK_S
            raise

    def _ask(
        self, sql: str, parameters: dict[str, Any], settings: dict[str, Any], tag: str
    ) -> Sequence[Sequence[Any]]:
        try:
            client = self._free.get_nowait()
        except Empty:
            client = self._connect()
        self._running.add(tag)
        try:
            with storage_errors():
                rows = client.query(sql, parameters=parameters, settings=settings).result_rows
        except Exception:
            # What the embedded engine had of the answer would be a part of the next one.
            client.close()
            raise
        finally:
            self._running.discard(tag)
        self._free.put(client)
        return rows

    def _kill(self, tag: str) -> None:
        if tag not in self._running:  # it has ended, or was never begun
            return
        client = self._connect()
        try:
            with storage_errors():
                client.command(
                    "KILL QUERY WHERE Settings['log_comment'] = {tag:String} ASYNC",
                    parameters={"tag": tag},
                )
        finally:
            client.close()

    def close(self) -> None:
        """Stop the running queries, then close the clients."""
        for tag in list(self._running):
            self._killer.submit(self._kill, tag)
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._killer.shutdown(wait=True)
        while not self._free.empty():
            self._free.get().close()
