"""Dead letters: rows that ClickHouse refuses forever, kept on disk with the reason.

Each refusal is one Arrow IPC file. It is synced to disk before the WAL may delete the rows. Dead
letters are never retried automatically: `event-stream dead-letters` lists, shows, replays and
discards them.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from storage.errors import PausedError, StorageError
from storage.files import replacing

SUFFIX = ".arrow"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refusal.

    Attributes:
        path: the file.
        name: name of the file without the suffix.
        at: when the rows were refused.
        reason: text of the error.
        code: error code of ClickHouse, or None when there was none.
        rows: rows in the file.
        bytes: size of the file.
    """

    path: Path
    name: str
    at: datetime
    reason: str
    code: int | None
    rows: int
    bytes: int

    def read(self) -> pa.Table:
        """Read the rows, as they were to be inserted.

        Raises:
            OSError: the file can't be read.
            pa.ArrowInvalid: the file is damaged.
        """
        with pa.OSFile(str(self.path)) as file:
            return pa.ipc.open_file(file).read_all()


class DeadLetters:
    """The dead letters of one service."""

    def __init__(self, data_dir: Path, *, bytes_max: int) -> None:
        """Use the directory `dead_letters` in `data_dir`.

        Args:
            data_dir: data directory of the service.
            bytes_max: limit for all files together.
        """
        self._directory = data_dir / "dead_letters"
        self._bytes_max = bytes_max

    def add(self, rows: pa.Table, error: StorageError) -> None:
        """Write refused rows and the error to a new file, and sync it to disk.

        After an error the caller must keep the rows.

        Raises:
            PausedError: the limit is reached; an operator must replay or discard dead letters.
            OSError: the file could not be written.
        """
        if self.size_bytes() + rows.nbytes > self._bytes_max:
            raise PausedError(
                f"The dead letters have reached {self._bytes_max} bytes:"
                " replay or discard some with event-stream dead-letters"
            )
        self._directory.mkdir(parents=True, exist_ok=True)
        at = datetime.now(UTC)
        schema = rows.schema.with_metadata(
            {"reason": str(error), "code": str(error.code or ""), "at": at.isoformat()}
        )
        name = f"{at:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}"
        with (
            replacing(self._directory / f"{name}{SUFFIX}") as file,
            pa.ipc.new_file(file, schema) as writer,
        ):
            writer.write_table(rows.cast(schema))

    def __iter__(self) -> Iterator[DeadLetter]:
        """Yield all dead letters, oldest first.

        Raises:
            OSError: a file can't be read.
            pa.ArrowInvalid: a file is damaged.
        """
        for path in sorted(self._directory.glob(f"*{SUFFIX}")):
            with pa.OSFile(str(path)) as file:
                reader = pa.ipc.open_file(file)
                metadata = {k.decode(): v.decode() for k, v in reader.schema.metadata.items()}
                rows = sum(reader.get_batch(i).num_rows for i in range(reader.num_record_batches))
            yield DeadLetter(
                path,
                path.stem,
                datetime.fromisoformat(metadata["at"]),
                metadata["reason"],
                int(metadata["code"]) if metadata["code"] else None,
                rows,
                path.stat().st_size,
            )

    def size_bytes(self) -> int:
        """Return the bytes of all files."""
        return sum(path.stat().st_size for path in self._directory.glob(f"*{SUFFIX}"))
