"""Queries, off the event loop and a bounded number at a time."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any

from clickhouse_connect.driver.client import Client

from storage.client import storage_errors
from storage.schema import EVENTS_TABLE


class Reader:
    """A query at a time for each client; further ones wait for one to be free."""

    def __init__(self, connect: Callable[[], Client], *, clients: int, timeout_s: int) -> None:
        """connect: makes a client, called once for each of `clients`, when first needed."""
        self._connect = connect
        self._timeout_s = timeout_s
        self._free: SimpleQueue[Client] = SimpleQueue()
        self._threads = ThreadPoolExecutor(clients, thread_name_prefix="reader")
        self._made: list[Client] = []

    async def query(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """The rows of `sql`, whose `{name:Type}` places are bound to `parameters`.

        Raises StorageError.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._query, sql, dict(parameters))

    async def recent_ids(self, *, seconds: int, limit: int) -> list[str]:
        """The ids of the last `limit` events received in the last `seconds`, oldest first.

        Raises StorageError.
        """
        rows = await self.query(
            f"SELECT id FROM {EVENTS_TABLE} WHERE received_at >= now() - {{seconds:UInt32}}"
            " ORDER BY received_at DESC LIMIT {limit:UInt64}",
            {"seconds": seconds, "limit": limit},
        )
        return [event_id for (event_id,) in reversed(rows)]

    async def broken_parts(self) -> list[str]:
        """Parts of the table that storage set aside because it could not read them.

        It does so at its start and says nothing else of it. Raises StorageError.
        """
        rows = await self.query(
            "SELECT name FROM system.detached_parts WHERE database = currentDatabase()"
            " AND table = {table:String} AND startsWith(reason, 'broken')",
            {"table": EVENTS_TABLE},
        )
        return [name for (name,) in rows]

    def _query(self, sql: str, parameters: dict[str, Any]) -> Sequence[Sequence[Any]]:
        try:
            client = self._free.get_nowait()
        except Empty:
            client = self._new_client()
        try:
            with storage_errors():
                return client.query(
                    sql, parameters=parameters, settings={"max_execution_time": self._timeout_s}
                ).result_rows
        finally:
            self._free.put(client)

    def _new_client(self) -> Client:
        client = self._connect()
        self._made.append(client)
        return client

    def close(self) -> None:
        """Wait for the running queries, then close the clients."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for client in self._made:
            client.close()
