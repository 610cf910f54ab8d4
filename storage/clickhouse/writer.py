"""One attempt to insert one Arrow table; who tries again is the flusher."""

from collections.abc import Callable

import pyarrow as pa
from clickhouse_connect.driver.client import Client

from storage.clickhouse.client import storage_errors
from storage.errors import PausedError, PermanentError, StorageError, TransientError

_SETTINGS = {
    # The table collapses duplicates when it merges: 3 times the CPU to do it here as well.
    "optimize_on_insert": 0,
    # Our batches are large, and an answer must mean that the rows are there.
    "async_insert": 0,
    # A batch of old events may span hundreds of months, and must still be stored.
    "throw_on_max_partitions_per_insert_block": 0,
    # On a cluster, too.
    "distributed_foreground_insert": 1,
}


class Writer:
    """Not thread-safe: one writer belongs to one thread."""

    def __init__(self, connect: Callable[[], Client], table: str) -> None:
        """connect: makes a client whose database has `table`; called when one is needed."""
        self._connect = connect
        self._table = table
        self._client: Client | None = None

    def open(self) -> None:
        """Connect, unless connected. Raises StorageError."""
        self._opened()

    def write(self, rows: pa.Table, *, token: str) -> None:
        """Insert `rows`. Returning means that storage has confirmed every row.

        token: the same for every attempt with the same rows in the same order, and for no others;
        storage drops an insert whose token it has seen. Raises StorageError.
        """
        client = self._opened()
        try:
            with storage_errors():
                summary = client.insert_arrow(
                    self._table, rows, settings=_SETTINGS | {"insert_deduplication_token": token}
                )
        except PausedError:
            # An operator may replace the table or the user: begin anew, migrations included.
            self.close()
            raise
        except pa.ArrowException as error:
            raise PermanentError(f"Rows can't be written as Arrow: {error}") from error
        # The driver takes any 200 for success, a proxy's error page included.
        if summary.written_rows < rows.num_rows:
            raise TransientError(
                f"Storage confirmed {summary.written_rows} of {rows.num_rows} rows"
            )

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _opened(self) -> Client:
        if self._client is None:
            client = self._connect()
            try:
                with storage_errors():
                    # Whether this user may insert, and with these settings, is known before the
                    # first event.
                    nothing = f"INSERT INTO {self._table} (name) SELECT '' WHERE 0"
                    client.command(nothing, settings=dict(_SETTINGS))
            except StorageError:
                client.close()
                raise
            self._client = client
        return self._client
