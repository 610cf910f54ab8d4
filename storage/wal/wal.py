"""The write-ahead log (WAL): keeps acknowledged events on disk until ClickHouse has stored them.

Invariants:
- `append` returns only after fdatasync. When it fails, it tries to truncate the file to its
  previous size, and the record batches must not be acknowledged.
- After a failed write, the file is never written to again. The next append creates a new segment.
- Sequence numbers grow by one for each record, also across restarts. A sequence number identifies
  the same rows forever.
- A segment is deleted only when a checkpoint that covers it is on disk, and some time later.
- Damaged parts are copied into the quarantine and counted. The records after them are still read.

One thread calls `append`, another one `checkpoint`; any thread may call `read` and `retained`. A
lock file ensures that only one process uses a directory.
"""

import errno
import fcntl
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import IO

import pyarrow as pa

from storage.errors import TransientError
from storage.files import sync_directory
from storage.ipc_memory import IpcMemory
from storage.wal.checkpoint import WalState
from storage.wal.retention import Segment, Segments
from storage.wal.segment import (
    RECORD_HEADER_BYTES,
    DamagedError,
    Record,
    SegmentReader,
    file_header,
    record_header,
    to_payloads,
)

SUFFIX = ".wal"
LOCK = "lock"


class WalError(TransientError):
    """The WAL could not be written: the disk is full or failing."""


@dataclass(frozen=True, slots=True)
class Location:
    """The place of one record batch in the WAL."""

    path: Path
    record: Record

    @property
    def sequence(self) -> int:
        """The sequence number of the record."""
        return self.record.sequence


@dataclass(slots=True)
class Recovered:
    """The result of reading a WAL directory at the start.

    Attributes:
        backlog: records that the checkpoint does not cover, in order.
        damaged: damaged parts, which were copied into the quarantine.
        torn: interrupted appends, never acknowledged. They were copied there too, and cut off.
    """

    backlog: list[Location] = field(default_factory=list)
    damaged: int = 0
    torn: int = 0


class Wal:
    """A write-ahead log in one directory."""

    def __init__(
        self,
        directory: Path,
        *,
        schema: pa.Schema,
        segment_bytes: int,
        bytes_max: int,
        retain_s: float,
    ) -> None:
        """Create the directory if necessary, and lock it.

        Args:
            directory: place of the segments.
            schema: schema of the record batches.
            segment_bytes: size at which a segment is closed and a new one is created.
            bytes_max: limit for the segments that are not stored.
            retain_s: how long stored segments are retained, in seconds.

        Raises:
            BlockingIOError: another process has locked the directory.
            OSError: the directory can't be used.
        """
        self.directory = directory
        self._schema = schema
        self._segment_bytes = segment_bytes
        directory.mkdir(parents=True, exist_ok=True)
        self._lock_file = (directory / LOCK).open("wb")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock_file.close()
            raise
        self._memory = IpcMemory()
        self._segments = Segments(bytes_max=bytes_max, retain_s=retain_s)
        self._file: IO[bytes] | None = None
        self._next_sequence = self._checkpoint = 0
        self._reader: SegmentReader | None = None
        self._state = WalState(directory)
        self.stream_id = self._state.stream_id()

    def recover(self) -> Recovered:
        """Read the segments of an earlier process. Call it once, before the first append.

        Raises:
            OSError: the directory can't be read or changed.
        """
        recovered = Recovered()
        stored = self._state.read_checkpoint()
        self._next_sequence = self._checkpoint = stored
        paths = sorted(self.directory.glob(f"*{SUFFIX}"))
        for path, following in zip_longest(paths, paths[1:]):
            if following is not None and int(following.stem) <= stored:
                # All its records are stored: it is not read unless the table loses a part.
                self._segments.add(Segment(path, int(following.stem), path.stat().st_size))
                continue
            sequence = int(path.stem)
            for part in self._scan(path, recovered):
                sequence = part.sequence + 1
                if part.sequence >= stored:
                    recovered.backlog.append(Location(path, part))
            self._next_sequence = max(self._next_sequence, sequence)
            self._segments.add(Segment(path, sequence, path.stat().st_size))
        self._delete_before(stored)
        return recovered

    def append(self, batches: Sequence[pa.RecordBatch]) -> list[Location]:
        """Write all record batches or none, sync them to disk, and return their locations.

        Raises:
            WalError: none of them was written.
        """
        parts: list[bytes | memoryview] = []
        records: list[Record] = []
        segment = self._segments.last if self._file is not None else None
        if segment is None or segment.bytes >= self._segment_bytes:
            segment = self._new_segment()
        offset = segment.bytes
        payloads = to_payloads(batches, self._schema, self._memory)
        for batch, payload in zip(batches, payloads, strict=True):
            offset += RECORD_HEADER_BYTES
            sequence, crc = self._next_sequence + len(records), zlib.crc32(payload)
            records.append(Record(sequence, batch.num_rows, offset, payload.nbytes, crc))
            parts += (record_header(records[-1]), payload)
            offset = records[-1].end
        self._write(segment, parts)
        self._next_sequence += len(batches)
        self._segments.grow(segment, size=offset, next_sequence=self._next_sequence)
        return [Location(segment.path, record) for record in records]

    def read(self, location: Location) -> pa.RecordBatch:
        """Read one record batch.

        Raises:
            DamagedError: the record is damaged.
            OSError: the segment can't be read.
        """
        reader = self._reader
        if reader is None or reader.path != location.path or not reader.holds(location.record):
            reader = self._reader = SegmentReader(location.path, self._schema)
        return reader.read(location.record)

    def retained(self) -> Iterator[Location]:
        """Yield the records that are stored and still retained, in order, without damaged ones.

        Raises:
            OSError: a segment can't be read.
        """
        for path in self._segments.paths():
            try:
                reader = SegmentReader(path, self._schema)
            except (DamagedError, FileNotFoundError):
                continue  # the segment is empty, or has just been deleted
            for part in reader.scan():
                if isinstance(part, Record) and part.sequence < self._checkpoint:
                    yield Location(path, part)

    def checkpoint(self, sequence: int) -> None:
        """Record that all rows before `sequence` are stored, and delete segments that may go.

        Raises:
            WalError: the checkpoint could not be written, or a segment could not be deleted.
        """
        if sequence <= self._checkpoint:
            return  # retained rows were inserted again
        try:
            self._state.write_checkpoint(sequence)
            self._checkpoint = sequence
            self._delete_before(sequence)
        except OSError as error:
            raise WalError(f"The checkpoint of the WAL can't be written: {error}") from error

    def has_room(self, size: int) -> bool:
        """Return whether `size` more bytes fit. Retained segments do not count."""
        return self._segments.has_room(size)

    def unstored_bytes(self) -> int:
        """Return the bytes of all segments that are not stored."""
        return self._segments.unstored_bytes()

    def size_bytes(self) -> int:
        """Return the bytes of all segments."""
        return self._segments.size_bytes()

    def close(self) -> None:
        """Close the files and unlock the directory."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._lock_file.close()

    def _write(self, segment: Segment, parts: list[bytes | memoryview]) -> None:
        assert self._file is not None
        try:
            for part in parts:
                # On a full disk a write may be short without an error.
                if self._file.write(part) != len(part):
                    raise OSError(errno.ENOSPC, "The disk took only a part of the data")
            self._sync(self._file)
        except OSError as error:
            self._abandon(segment.bytes)
            raise WalError(f"The WAL can't be written: {error}") from error

    def _abandon(self, good_bytes: int) -> None:
        """Truncate the file to its good bytes, and close it: after an error its end is unknown."""
        assert self._file is not None
        try:
            os.ftruncate(self._file.fileno(), good_bytes)
            os.fsync(self._file.fileno())
        except OSError:
            pass  # the rest of the file was not acknowledged, and readers check the CRC
        self._file.close()
        self._file = None

    def _new_segment(self) -> Segment:
        if self._file is not None:
            self._file.close()
            self._file = None
        path = self.directory / f"{self._next_sequence:020d}{SUFFIX}"
        header = file_header(self._schema)
        try:
            # The file may exist after a failed append. None of its records was acknowledged.
            file = self._open(path)
            self._file = file
            if file.write(header) != len(header):
                raise OSError(errno.ENOSPC, "The disk took only a part of the data")
            self._sync(file)
            sync_directory(self.directory)
        except OSError as error:
            if self._file is not None:
                self._abandon(0)
            raise WalError(f"The WAL can't be written: {error}") from error
        segment = Segment(path, self._next_sequence, len(header))
        self._segments.add(segment)
        return segment

    def _open(self, path: Path) -> IO[bytes]:
        return path.open("wb", buffering=0)

    def _sync(self, file: IO[bytes]) -> None:
        os.fdatasync(file.fileno())

    def _scan(self, path: Path, recovered: Recovered) -> Iterator[Record]:
        try:
            reader = SegmentReader(path, self._schema)
        except DamagedError:
            return  # the file is empty: the process crashed before it acknowledged any record
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
        written_to = self._segments.last if self._file is not None else None
        self._segments.stored_before(sequence, written_to=written_to)
