"""A WAL on a fake disk, which can be full, slow to sync, or fail to sync."""

import errno
import io
import os
import threading
from pathlib import Path
from typing import Any

from storage.wal.wal import Wal


class FakeDisk:
    """The state of the fake disk. Tests change it.

    Attributes:
        room: how many more bytes can be written; None for no limit.
        sync_fails: whether fdatasync raises EIO.
        syncs: number of successful syncs.
        free: fdatasync waits until this event is set.
    """

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
            data = data[:room]  # a full disk writes a part without an error
            self._disk.room = room - len(data)
        return super().write(data)


class WalOnFakeDisk(Wal):
    """A WAL whose files are on a fake disk."""

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
