"""One attempt to insert one Arrow table; who tries again is the flusher."""

import pyarrow as pa
from clickhouse_connect.driver.client import Client

from storage.client import storage_errors
from storage.errors import PermanentError, TransientError


class Writer:
    def __init__(self, client: Client, table: str) -> None:
        self._client = client
        self._table = table

    def write(self, rows: pa.Table, *, token: str) -> None:
        """Insert `rows`. Returning means that storage has confirmed every row.

        token: the same for every attempt with the same rows in the same order, and for no others;
        storage drops an insert whose token it has seen. Raises StorageError.
        """
        settings = {
            "insert_deduplication_token": token,
            # The table collapses duplicates when it merges: 3 times the CPU to do it here as well.
            "optimize_on_insert": 0,
            # Our batches are large, and an answer must mean that the rows are there.
            "async_insert": 0,
            # A batch of old events may span hundreds of months, and must still be stored.
            "throw_on_max_partitions_per_insert_block": 0,
        }
        try:
            with storage_errors():
                summary = self._client.insert_arrow(self._table, rows, settings=settings)
        except pa.ArrowException as error:
            raise PermanentError(f"Rows can't be written as Arrow: {error}") from error
        # The driver takes any 200 for success, a proxy's error page included.
        if summary.written_rows != rows.num_rows:
            raise TransientError(
                f"Storage confirmed {summary.written_rows} of {rows.num_rows} rows"
            )

    def ping(self) -> None:
        """Raises StorageError when storage does not answer."""
        with storage_errors():
            self._client.command("SELECT 1")

    def close(self) -> None:
        self._client.close()
