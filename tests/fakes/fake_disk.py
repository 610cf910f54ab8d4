"""A fake disk: a log whose files take only so many bytes, or sync late or not, when told to."""

import errno
import io
import os
import threading
from pathlib import Path
from typing import Any

from storage.wal.wal import Wal


class FakeDisk:
    """room: bytes that writes still find, None for enough; sync_fails: fdatasync raises EIO; syncs:
    how many there were; free: fdatasync waits for it."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.sync_fails = False
        self.syncs = 0
        self.free = threading.Event()
        self.free.set()


class _File(io.FileIO):
    def __init__(self, path: Path, disk: FakeDisk) -> None:
        super().__init__(path, "wb")
        self._disk = disk

    def write(self, data: Any) -> int:
        data = bytes(data)
        room = self._disk.room
        if room is not None:
            if room == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = data[:room]  # a full disk takes a part of it and says nothing
            self._disk.room = room - len(data)
        return super().write(data)


class WalOnFakeDisk(Wal):
    def __init__(self, directory: Path, disk: FakeDisk, **options: Any) -> None:
        super().__init__(directory, **options)
        self._disk = disk

    def _open(self, path: Path) -> Any:
        return _File(path, self._disk)

    def _sync(self, file: Any) -> None:
        assert self._disk.free.wait(10)
        if self._disk.sync_fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._disk.syncs += 1
        super()._sync(file)
