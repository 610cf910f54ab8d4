"""Write files atomically: write, sync and rename."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: Path, *, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """Open a file that replaces `path` when the block ends without an error.

    A reader always sees the complete old file or the complete new file, also after a crash.

    Args:
        path: the file to replace or to create.
        mode: permissions of the new file, before the umask.

    Raises:
        OSError: the file could not be written; `path` is unchanged.
    """
    temporary = path.with_name(f"{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make every file created, renamed or removed in `directory` durable.

    Raises:
        OSError: the directory could not be synced.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
