"""Insert one Arrow table into ClickHouse, without retries. The flusher retries."""

from collections.abc import Callable

import pyarrow as pa
from clickhouse_connect.driver.client import Client

from storage.clickhouse.client import storage_errors
from storage.clickhouse.inserts import Insert, insert_of
from storage.errors import PausedError, PermanentError, StorageError, TransientError

_SETTINGS = {
    # The table collapses duplicates when it merges. To do it here as well takes 3 times the CPU.
    "optimize_on_insert": 0,
    # The inserts are large, and a success must mean that the rows are stored.
    "async_insert": 0,
    # Old events may span hundreds of months, and must still be stored.
    "throw_on_max_partitions_per_insert_block": 0,
    # On a cluster, a success must mean that the shards have stored the rows.
    "distributed_foreground_insert": 1,
}


class Writer:
    """Inserts rows into one table. Not thread-safe: only one thread may use a writer."""

    def __init__(self, connect: Callable[[], Client], table: str) -> None:
        """Start without a client.

        Args:
            connect: creates a client whose database has `table`. It is called when the writer has
                no client.
            table: name of the table.
        """
        self._connect = connect
        self._table = table
        self._client: Client | None = None
        self._insert: Insert

    def open(self) -> None:
        """Connect, and check that the user may insert. Do nothing if the writer has a client.

        Raises:
            StorageError: the writer could not connect, or the user may not insert.
        """
        self._opened()

    def write(self, rows: pa.Table, *, token: str) -> None:
        """Insert `rows`. When this returns, ClickHouse has confirmed every row.

        Args:
            rows: the rows to insert.
            token: identifies the insert. It must be the same for every attempt with the same rows
                in the same order, and different for all others. ClickHouse drops an insert whose
                token it has seen.

        Raises:
            StorageError: not all rows were confirmed. They may be stored nevertheless.
        """
        client = self._opened()
        settings = _SETTINGS | {"insert_deduplication_token": token}
        try:
            with storage_errors():
                stored = self._insert(client, self._table, rows, settings)
        except PausedError:
            # An operator may replace the table or the user: connect and migrate again.
            self.close()
            raise
        except pa.ArrowException as error:
            raise PermanentError(f"Rows can't be written as Arrow: {error}") from error
        # The driver treats every status 200 as success, also an error page of a proxy.
        if stored < rows.num_rows:
            raise TransientError(f"Storage confirmed {stored} of {rows.num_rows} rows")

    def close(self) -> None:
        """Close the client. The next `write` connects again."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _opened(self) -> Client:
        if self._client is None:
            client = self._connect()
            try:
                with storage_errors():
                    # Fail before the first event if the user may not insert with these settings.
                    nothing = f"INSERT INTO {self._table} (name) SELECT '' WHERE 0"
                    client.command(nothing, settings=dict(_SETTINGS))
            except StorageError:
                client.close()
                raise
            self._client, self._insert = client, insert_of(client)
        return self._client
