"""The write-ahead log: what was acknowledged, on disk until the table has it.

Invariants:
- `append` returns only after fdatasync; what it raised for is cut off again and never acknowledged;
- a file that failed once is not written to again: the next append begins a new one;
- sequence numbers grow by one in the life of a directory and name the same rows for ever;
- a segment is deleted only after the checkpoint that covers it is on disk, and some time later;
- what can't be read is set aside and counted, and never keeps what follows it from being read.

`append` belongs to one thread, `checkpoint` and `read` to another. A directory belongs to one
process at a time: a lock says so.
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
from storage.wal.checkpoint import WalState
from storage.wal.retention import Segment, Segments
from storage.wal.segment import (
    RECORD_HEADER_BYTES,
    DamagedError,
    Record,
    SegmentReader,
    file_header,
    record_header,
    to_payload,
)

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


class Wal:
    def __init__(
        self,
        directory: Path,
        *,
        schema: pa.Schema,
        segment_bytes: int,
        bytes_max: int,
        retain_s: float,
    ) -> None:
        """Lock the directory. segment_bytes: at which a new file begins; bytes_max: of what is not
        stored; retain_s: how long what is stored is kept all the same.

        Raises BlockingIOError when another process has it, OSError.
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
        self._segments = Segments(bytes_max=bytes_max, retain_s=retain_s)
        self._file: IO[bytes] | None = None
        self._next_sequence = self._checkpoint = 0
        self._reader: SegmentReader | None = None
        self._state = WalState(directory)
        self.stream_id = self._state.stream_id()

    def recover(self) -> Recovered:
        """Read what is there; to be called once, before the first append."""
        recovered = Recovered()
        stored = self._state.read_checkpoint()
        self._next_sequence = self._checkpoint = stored
        paths = sorted(self.directory.glob(f"*{SUFFIX}"))
        for path, following in zip_longest(paths, paths[1:]):
            if following is not None and int(following.stem) <= stored:
                # Retained: read only when there is need.
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
        """Write the batches and sync them to disk, all or none of them. Raises WalError."""
        parts: list[bytes | pa.Buffer] = []
        records: list[Record] = []
        segment = self._segments.last if self._file is not None else None
        offset = 0 if segment is None else segment.bytes
        if segment is None or offset >= self._segment_bytes:
            segment, offset = self._new_segment()
        start = offset
        for sequence, batch in enumerate(batches, self._next_sequence):
            payload = to_payload(batch, self._schema)
            offset += RECORD_HEADER_BYTES
            crc = zlib.crc32(payload)
            record = Record(sequence, batch.num_rows, offset, payload.size, crc)
            records.append(record)
            parts += (record_header(record), payload)
            offset = record.end
        self._write(segment, start, parts)
        self._next_sequence += len(batches)
        self._segments.grow(segment, size=offset, next_sequence=self._next_sequence)
        return [Location(segment.path, record) for record in records]

    def read(self, location: Location) -> pa.RecordBatch:
        """Raises DamagedError when it is not what was written, OSError."""
        reader = self._reader
        if reader is None or reader.path != location.path or not reader.holds(location.record):
            reader = self._reader = SegmentReader(location.path, self._schema)
        return reader.read(location.record)

    def retained(self) -> Iterator[Location]:
        """What is stored and still here, in order. What can't be read is left out."""
        for path in self._segments.paths():
            try:
                reader = SegmentReader(path, self._schema)
            except (DamagedError, FileNotFoundError):
                continue  # its time to be retained has ended meanwhile
            for part in reader.scan():
                if isinstance(part, Record) and part.sequence < self._checkpoint:
                    yield Location(path, part)

    def checkpoint(self, sequence: int) -> None:
        """Everything before `sequence` is stored: forget it, in time. Raises WalError."""
        if sequence <= self._checkpoint:
            return  # something retained was stored once more
        try:
            self._state.write_checkpoint(sequence)
            self._checkpoint = sequence
            self._delete_before(sequence)
        except OSError as error:
            raise WalError(f"The log's checkpoint can't be written: {error}") from error

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes stay within the limit; retained bytes do not count."""
        return self._segments.has_room(size)

    def unstored_bytes(self) -> int:
        """Bytes of the segments with events that are not stored yet."""
        return self._segments.unstored_bytes()

    def size_bytes(self) -> int:
        """Bytes of all segments."""
        return self._segments.size_bytes()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._lock_file.close()

    def _write(self, segment: Segment, start: int, parts: list[bytes | pa.Buffer]) -> None:
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

    def _new_segment(self) -> tuple[Segment, int]:
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
        segment = Segment(path, self._next_sequence, len(header))
        self._segments.add(segment)
        return segment, len(header)

    def _open(self, path: Path) -> IO[bytes]:
        return path.open("wb", buffering=0)

    def _sync(self, file: IO[bytes]) -> None:
        os.fdatasync(file.fileno())

    def _scan(self, path: Path, recovered: Recovered) -> Iterator[Record]:
        try:
            reader = SegmentReader(path, self._schema)
        except DamagedError:
            return  # empty: a crash came before its header, and so before any acknowledgement
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
