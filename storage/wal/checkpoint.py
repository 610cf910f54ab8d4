"""The small files in the directory of a WAL: the checkpoint, the stream id and the quarantine."""

import uuid
import zlib
from pathlib import Path

from storage.files import replacing

CHECKPOINT, STREAM, QUARANTINE = "checkpoint", "stream", "quarantine"


class WalState:
    """Reads and writes the small files of one WAL directory."""

    def __init__(self, directory: Path) -> None:
        """Use `directory`, which must exist."""
        self._directory = directory

    def read_checkpoint(self) -> int:
        """Read the checkpoint: every record with a lower sequence number is stored.

        Returns:
            The sequence number, or 0 when the file is missing or damaged. With 0 all records are
            inserted again, and the table collapses the copies.

        Raises:
            OSError: the file exists and can't be read.
        """
        try:
            number, crc = (self._directory / CHECKPOINT).read_bytes().split()
            return int(number) if zlib.crc32(number) == int(crc) else 0
        except (FileNotFoundError, ValueError):
            return 0

    def write_checkpoint(self, sequence: int) -> None:
        """Write the checkpoint, and sync the file and its directory entry to disk.

        Raises:
            OSError: the checkpoint could not be written.
        """
        number = b"%d" % sequence
        with replacing(self._directory / CHECKPOINT) as file:
            file.write(b"%b %d\n" % (number, zlib.crc32(number)))

    def stream_id(self) -> str:
        """Return the id of this WAL, which never changes; create it on the first call.

        Raises:
            OSError: the id could not be read or written.
        """
        path = self._directory / STREAM
        if not path.exists():
            with replacing(path) as file:
                file.write(uuid.uuid4().hex.encode())
        return path.read_text()

    def set_aside(self, path: Path, offset: int, size: int) -> None:
        """Copy an unreadable part of a file into the quarantine, so that it can be examined.

        Args:
            path: the damaged file.
            offset: byte at which the part begins.
            size: bytes of the part.

        Raises:
            OSError: the copy could not be made.
        """
        quarantine = self._directory / QUARANTINE
        quarantine.mkdir(exist_ok=True)
        with path.open("rb") as source:
            source.seek(offset)
            (quarantine / f"{path.name}-{offset}").write_bytes(source.read(size))
