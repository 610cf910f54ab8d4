"""The write-ahead log: what was acknowledged, on disk until the table has it.

Invariants:
- `append` returns only after fdatasync; what it raised for is cut off again and never acknowledged;
- a file that failed once is not written to again: the next append begins a new one;
- sequence numbers grow by one in the life of a directory and name the same rows for ever;
- a segment is deleted only after the checkpoint that covers it is on disk, its directory entry too;
- what can't be read is set aside and counted, and never keeps what follows it from being read.

`append` belongs to one thread, `checkpoint` and `read` to another. A directory belongs to one
process at a time: a lock says so.
"""

import errno
import fcntl
import os
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pyarrow as pa

from storage.errors import TransientError
from storage.wal_segment import (
    RECORD_HEADER_BYTES,
    DamagedError,
    Record,
    SegmentReader,
    file_header,
    record_header,
)
from storage.wal_state import WalState, sync_directory

SUFFIX = ".wal"
LOCK = "lock"


class WalError(TransientError):
    """The log could not be written: disk full, or a disk that fails."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a record batch lies in the log."""

    path: Path
    record: Record

    @property
    def sequence(self) -> int:
        return self.record.sequence


@dataclass(slots=True)
class Recovered:
    """What a directory held. backlog: not covered by the checkpoint, in order; damaged: parts that
    were set aside; torn: appends that were cut off, never acknowledged."""

    backlog: list[Location] = field(default_factory=list)
    damaged: int = 0
    torn: int = 0


@dataclass(slots=True)
class _Segment:
    path: Path
    next_sequence: int  # after the last record in it
    bytes: int


class Wal:
    def __init__(
        self, directory: Path, *, schema: pa.Schema, segment_bytes: int, bytes_max: int
    ) -> None:
        """Lock the directory. segment_bytes: at which a new file begins; bytes_max: of all files.

        Raises BlockingIOError when another process has it, OSError.
        """
        self.directory = directory
        self._schema = schema
        self._segment_bytes = segment_bytes
        self._bytes_max = bytes_max
        directory.mkdir(parents=True, exist_ok=True)
        self._lock_file = (directory / LOCK).open("wb")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock_file.close()
            raise
        self._guard = threading.Lock()
        self._segments: list[_Segment] = []
        self._file: IO[bytes] | None = None
        self._next_sequence = 0
        self._reader: SegmentReader | None = None
        self._state = WalState(directory)
        self.stream_id = self._state.stream_id()

    def recover(self) -> Recovered:
        """Read what is there; to be called once, before the first append."""
        recovered = Recovered()
        stored = self._state.read_checkpoint()
        self._next_sequence = stored
        for path in sorted(self.directory.glob(f"*{SUFFIX}")):
            sequence = int(path.stem)
            for part in self._scan(path, recovered):
                sequence = part.sequence + 1
                if part.sequence >= stored:
                    recovered.backlog.append(Location(path, part))
            self._next_sequence = max(self._next_sequence, sequence)
            self._segments.append(_Segment(path, sequence, path.stat().st_size))
        self._delete_before(stored)
        return recovered

    def append(self, batches: Sequence[pa.RecordBatch]) -> list[Location]:
        """Write the batches and sync them to disk, all or none of them. Raises WalError."""
        parts: list[bytes | pa.Buffer] = []
        records: list[Record] = []
        segment = self._segments[-1] if self._file is not None else None
        offset = 0 if segment is None else segment.bytes
        if segment is None or offset >= self._segment_bytes:
            segment, offset = self._new_segment()
        start = offset
        for sequence, batch in enumerate(batches, self._next_sequence):
            payload = batch.serialize()
            offset += RECORD_HEADER_BYTES
            crc = zlib.crc32(payload)
            record = Record(sequence, batch.num_rows, offset, payload.size, crc)
            records.append(record)
            parts += (record_header(record), payload)
            offset = record.end
        self._write(segment, start, parts)
        self._next_sequence += len(batches)
        with self._guard:
            segment.bytes, segment.next_sequence = offset, self._next_sequence
        return [Location(segment.path, record) for record in records]

    def read(self, location: Location) -> pa.RecordBatch:
        """Raises DamagedError when it is not what was written, OSError."""
        reader = self._reader
        if reader is None or reader.path != location.path or not reader.holds(location.record):
            reader = self._reader = SegmentReader(location.path)
        return reader.read(location.record)

    def checkpoint(self, sequence: int) -> None:
        """Everything before `sequence` is stored: forget it. Raises WalError."""
        try:
            self._state.write_checkpoint(sequence)
            self._delete_before(sequence)
        except OSError as error:
            raise WalError(f"The log's checkpoint can't be written: {error}") from error

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes stay within the limit."""
        return self.size_bytes() + size <= self._bytes_max

    def size_bytes(self) -> int:
        """Of all files of the log."""
        with self._guard:
            return sum(segment.bytes for segment in self._segments)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._lock_file.close()

    def _write(self, segment: _Segment, start: int, parts: list[bytes | pa.Buffer]) -> None:
        assert self._file is not None
        try:
            for part in parts:
                # A full disk may take a part of it and say nothing.
                if self._file.write(part) != len(part):
                    raise OSError(errno.ENOSPC, "The disk took only a part of it")
            self._sync(self._file)
        except OSError as error:
            self._abandon(start)
            raise WalError(f"The log can't be written: {error}") from error

    def _abandon(self, good_bytes: int) -> None:
        """After an error nothing is known of the file's end but that it is not to be trusted."""
        assert self._file is not None
        try:
            os.ftruncate(self._file.fileno(), good_bytes)
            os.fsync(self._file.fileno())
        except OSError:
            pass  # what is left there was not acknowledged, and a reader checks it
        self._file.close()
        self._file = None

    def _new_segment(self) -> tuple[_Segment, int]:
        if self._file is not None:
            self._file.close()
            self._file = None
        path = self.directory / f"{self._next_sequence:020d}{SUFFIX}"
        header = file_header(self._schema)
        try:
            # A file of this name holds no record that was acknowledged: its first never was.
            file = self._open(path)
            self._file = file
            if file.write(header) != len(header):
                raise OSError(errno.ENOSPC, "The disk took only a part of it")
            self._sync(file)
            sync_directory(self.directory)
        except OSError as error:
            if self._file is not None:
                self._abandon(0)
            raise WalError(f"The log can't be written: {error}") from error
        with self._guard:
            self._segments = [s for s in self._segments if s.path != path]
            segment = _Segment(path, self._next_sequence, len(header))
            self._segments.append(segment)
        return segment, len(header)

    def _open(self, path: Path) -> IO[bytes]:
        return path.open("wb", buffering=0)

    def _sync(self, file: IO[bytes]) -> None:
        os.fdatasync(file.fileno())

    def _scan(self, path: Path, recovered: Recovered) -> Iterator[Record]:
        try:
            reader = SegmentReader(path)
        except DamagedError:
            # No record can have been acknowledged before the file's header was on disk.
            recovered.damaged += 1
            self._state.set_aside(path, 0, path.stat().st_size)
            return
        for part in reader.scan():
            if isinstance(part, Record):
                yield part
                continue
            recovered.torn += part.torn
            recovered.damaged += not part.torn
            self._state.set_aside(path, part.offset, part.bytes)
            if part.torn:
                os.truncate(path, part.offset)

    def _delete_before(self, sequence: int) -> None:
        with self._guard:
            old = [s for s in self._segments if s.next_sequence <= sequence]
            if self._file is not None and old and old[-1] is self._segments[-1]:
                old.pop()  # it is still written to
            self._segments = [s for s in self._segments if s not in old]
        for segment in old:
            segment.path.unlink(missing_ok=True)
