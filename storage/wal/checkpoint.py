"""The small files of a log's directory: how far storage is, and what the log is called."""

import uuid
import zlib
from pathlib import Path

from storage.files import replacing

CHECKPOINT, STREAM, QUARANTINE = "checkpoint", "stream", "quarantine"


class WalState:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read_checkpoint(self) -> int:
        """The sequence number before which everything is stored; 0 when it can't be told, and then
        everything is sent again, which the table counts once."""
        try:
            number, crc = (self._directory / CHECKPOINT).read_bytes().split()
            return int(number) if zlib.crc32(number) == int(crc) else 0
        except (FileNotFoundError, ValueError):
            return 0

    def write_checkpoint(self, sequence: int) -> None:
        """On disk when this returns, its directory entry too. Raises OSError."""
        number = b"%d" % sequence
        with replacing(self._directory / CHECKPOINT) as file:
            file.write(b"%b %d\n" % (number, zlib.crc32(number)))

    def stream_id(self) -> str:
        """A name for the log that it keeps for its whole life. Raises OSError."""
        path = self._directory / STREAM
        if not path.exists():
            with replacing(path) as file:
                file.write(uuid.uuid4().hex.encode())
        return path.read_text()

    def set_aside(self, path: Path, offset: int, size: int) -> None:
        """Keep a copy of a part of a file that can't be read: someone may know better."""
        quarantine = self._directory / QUARANTINE
        quarantine.mkdir(exist_ok=True)
        with path.open("rb") as source:
            source.seek(offset)
            (quarantine / f"{path.name}-{offset}").write_bytes(source.read(size))
