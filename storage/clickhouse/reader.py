"""Run queries in threads, outside the event loop.

The number of concurrent queries, the queue and the resources of each query are limited.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

import structlog
from clickhouse_connect.driver.client import Client

from storage.clickhouse.client import storage_errors
from storage.clickhouse.interruption import Connections
from storage.errors import (
    PausedError,
    QueryQueueFullError,
    StorageError,
    TransientError,
    UnavailableError,
)

_SETTINGS: Mapping[str, Any] = {
    # All copies of an event are in the same partition, so FINAL need not compare partitions.
    "do_not_merge_across_partitions_select_final": 1,
    # On a cluster, a subquery must run only once, and not once on every shard.
    "distributed_product_mode": "global",
    "result_overflow_mode": "throw",
    "read_overflow_mode": "throw",
    "timeout_overflow_mode": "throw",
}


BREAK_S = 1.0
"""How long queries fail at once after storage did not respond. Otherwise each query in the queue
would wait for the same timeout."""
TIMEOUT_MARGIN_S = 5
"""How much longer a client waits than a query may take. The server must give up first, because
otherwise a slow query looks like a server that does not respond."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """The limits of one query. 0 means no limit.

    Attributes:
        timeout_s: time after which ClickHouse stops the query.
        memory_bytes: memory that the query may use in ClickHouse.
        read_rows: rows that the query may read.
        result_rows: rows that the query result may have.
    """

    timeout_s: int
    memory_bytes: int = 0
    read_rows: int = 0
    result_rows: int = 0


class Reader:
    """Runs queries: one at a time on each client. Further queries wait for a free client."""

    def __init__(
        self,
        connect: Callable[[], Client],
        *,
        clients: int,
        limits: QueryLimits,
        waiting_max: int = 1000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start without clients: they connect when they are needed.

        Args:
            connect: creates a client. It is called for each of `clients` when it is first needed,
                and after a failure. The timeout of the client must be `TIMEOUT_MARGIN_S` longer
                than `limits.timeout_s`.
            clients: number of queries that run at the same time.
            limits: limits of every query.
            waiting_max: number of queries that may wait for a client.
            clock: monotonic, in seconds.
        """
        self._connect = connect
        self._settings = {
            **_SETTINGS,
            "max_execution_time": limits.timeout_s,
            "max_memory_usage": limits.memory_bytes,
            "max_rows_to_read": limits.read_rows,
            "max_result_rows": limits.result_rows,
        }
        self._free: SimpleQueue[tuple[Client, Connections]] = SimpleQueue()
        self._threads = ThreadPoolExecutor(clients, thread_name_prefix="reader")
        self._killer = ThreadPoolExecutor(1, thread_name_prefix="killer")
        self._queries = 0
        self._queries_max = clients + waiting_max
        self._guard = threading.Lock()
        self._running: dict[str, Connections | None] = {}  # None: not on a client
        self._stopped: set[str] = set()
        self._clock = clock
        self._broken_until_s = float("-inf")

    async def query(
        self, sql: str, parameters: Mapping[str, Any], **settings: Any
    ) -> Sequence[Sequence[Any]]:
        """Run a query. If the caller cancels it, ClickHouse stops it.

        Args:
            sql: the query, with placeholders `{name:Type}`.
            parameters: values of the placeholders.
            **settings: ClickHouse settings that replace those of the reader.

        Returns:
            The rows of the query result.

        Raises:
            QueryQueueFullError: the query queue is full.
            StorageError: the query failed.
        """
        if self._queries >= self._queries_max:
            raise QueryQueueFullError("The query queue is full")
        tag = uuid4().hex
        settings = {**self._settings, **settings, "log_comment": tag}
        job = self._threads.submit(self._query, sql, dict(parameters), settings, tag)
        self._queries += 1
        try:
            return await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            self._killer.submit(self._stop, tag)
            raise
        finally:
            self._queries -= 1

    def _query(
        self, sql: str, parameters: dict[str, Any], settings: dict[str, Any], tag: str
    ) -> Sequence[Sequence[Any]]:
        if self._clock() < self._broken_until_s:
            raise UnavailableError("Storage did not answer a moment ago")
        self._running[tag] = None
        try:
            return self._run(sql, parameters, settings, tag)
        except StorageError as error:
            no_response = error.code is None and not isinstance(error, PausedError)
            if no_response and tag not in self._stopped:
                self._broken_until_s = self._clock() + BREAK_S
            raise
        finally:
            with self._guard:
                del self._running[tag]
                self._stopped.discard(tag)

    def _run(
        self, sql: str, parameters: dict[str, Any], settings: dict[str, Any], tag: str
    ) -> Sequence[Sequence[Any]]:
        try:
            client, connections = self._free.get_nowait()
        except Empty:
            client = self._connect()
            connections = Connections(client)
        self._running[tag] = connections
        try:
            if tag in self._stopped:
                raise TransientError("The query was cancelled")
            with storage_errors():
                rows = client.query(sql, parameters=parameters, settings=settings).result_rows
        except Exception:
            # The embedded engine would put the rest of this query result into the next one.
            client.close()
            raise
        with self._guard:  # a later `_stop` of this query must not stop the client's next query
            self._running[tag] = None
            if tag in self._stopped:
                client.close()
            else:
                self._free.put((client, connections))
        return rows

    def _stop(self, tag: str) -> None:
        with self._guard:
            if tag not in self._running:  # the query has ended or never started
                return
            self._stopped.add(tag)
            connections = self._running[tag]
            if connections is None:
                return
            if connections.can_close:
                connections.close()
                return
        self._kill(tag)

    def _kill(self, tag: str) -> None:
        """Stop a query in the embedded engine."""
        try:
            client = self._connect()
            try:
                with storage_errors():
                    client.command(
                        "KILL QUERY WHERE Settings['log_comment'] = {tag:String} ASYNC",
                        parameters={"tag": tag},
                    )
            finally:
                client.close()
        except StorageError as error:  # no caller gets the result of this job
            log.warning("a cancelled query could not be stopped", error=str(error))

    def close(self) -> None:
        """Stop the running queries, then close the clients."""
        for tag in list(self._running):
            self._killer.submit(self._stop, tag)
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._killer.shutdown(wait=True)
        while not self._free.empty():
            client, _ = self._free.get()
            client.close()
