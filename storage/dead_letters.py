"""Dead letters: rows that storage will never take, kept on disk with the reason.

One Arrow IPC file for each refusal, synced before the log forgets the rows. Never retried by
itself: `event-stream dead-letters` lists, shows, replays and discards them.
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
    """One file. name: its name without the suffix; at: when storage refused the rows; code: of
    ClickHouse, None when there was none."""

    path: Path
    name: str
    at: datetime
    reason: str
    code: int | None
    rows: int
    bytes: int

    def read(self) -> pa.Table:
        """The rows, as they were to be inserted. Raises OSError, pa.ArrowInvalid."""
        with pa.OSFile(str(self.path)) as file:
            return pa.ipc.open_file(file).read_all()


class DeadLetters:
    def __init__(self, data_dir: Path, *, bytes_max: int) -> None:
        """data_dir: of the service; bytes_max: of all files."""
        self._directory = data_dir / "dead_letters"
        self._bytes_max = bytes_max

    def add(self, rows: pa.Table, error: StorageError) -> None:
        """On disk when this returns.

        Raises PausedError when there is no room for it, OSError: then the rows must be kept where
        they are.
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
        """Oldest first."""
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
        """Of all files."""
        return sum(path.stat().st_size for path in self._directory.glob(f"*{SUFFIX}"))
