"""The write-ahead log: what was appended comes back, whatever happened to the files."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from storage.wal.checkpoint import QUARANTINE
from storage.wal.segment import RECORD_HEADER_BYTES, file_header
from storage.wal.wal import Recovered, Wal, WalError
from tests.fakes.fake_disk import FakeDisk, WalOnFakeDisk

SCHEMA = pa.schema([("n", pa.int64())])
OPTIONS: dict[str, Any] = {
    "schema": SCHEMA,
    "segment_bytes": 2_000,
    "bytes_max": 1 << 30,
    "retain_s": 0,
}


def batch(value: int, rows: int = 3) -> pa.RecordBatch:
    """Every other one of a schema of its own."""
    if value % 2:
        return pa.record_batch({"n": [value] * rows, "text": ["text"] * rows})
    return pa.record_batch([pa.array([value] * rows)], schema=SCHEMA)


def values(wal: Wal, recovered: Recovered) -> list[int]:
    return [wal.read(location).column("n")[0].as_py() for location in recovered.backlog]


@contextmanager
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as path:
        yield Path(path) / "wal"


@contextmanager
def opened(path: Path) -> Iterator[tuple[Wal, Recovered]]:
    wal = Wal(path, **OPTIONS)
    try:
        yield wal, wal.recover()
    finally:
        wal.close()


def filled(path: Path, count: int) -> list[Path]:
    """The segments of a log with the values 0 to `count`, one append each."""
    with opened(path) as (wal, _):
        for value in range(count):
            wal.append([batch(value)])
    return sorted(path.glob("*.wal"))


class WalMachine(RuleBasedStateMachine):
    """Appends, checkpoints, ends and kills, against a list."""

    @initialize()
    def begin(self) -> None:
        self.path = Path(tempfile.mkdtemp()) / "wal"
        self.wal = Wal(self.path, **OPTIONS)
        self.wal.recover()
        self.appended: list[int] = []
        self.stored = 0

    @rule(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4))
    def append(self, sizes: list[int]) -> None:
        first = len(self.appended)
        batches = [batch(first + index, rows) for index, rows in enumerate(sizes)]
        locations = self.wal.append(batches)
        self.appended += range(first, first + len(sizes))
        assert [location.sequence for location in locations] == self.appended[first:]
        for location, written in zip(locations, batches, strict=True):
            assert self.wal.read(location).equals(written)

    @precondition(lambda self: self.stored < len(self.appended))
    @rule(data=st.data())
    def checkpoint(self, data: st.DataObject) -> None:
        self.stored = data.draw(st.integers(self.stored, len(self.appended)))
        self.wal.checkpoint(self.stored)

    @rule(cut=st.integers(0, 200))
    def crash_and_recover(self, cut: int) -> None:
        """A crash may leave a part of an append behind that was never acknowledged."""
        self.wal.close()
        segments = sorted(self.path.glob("*.wal"))
        if segments and cut:
            with segments[-1].open("ab") as file:
                file.write(b"\xf5REC" + bytes(cut))
        self.wal = Wal(self.path, **OPTIONS)
        recovered = self.wal.recover()
        assert values(self.wal, recovered) == self.appended[self.stored :]
        assert recovered.damaged == 0

    def teardown(self) -> None:
        if hasattr(self, "wal"):
            self.wal.close()
            shutil.rmtree(self.path.parent)


TestWal = WalMachine.TestCase
TestWal.settings = settings(max_examples=50, deadline=None)


def test_a_last_record_cut_at_any_byte_loses_that_record_alone() -> None:
    with directory() as path:
        [segment] = filled(path, 3)
        whole = segment.read_bytes()
        with directory() as other:
            [shorter] = filled(other, 2)
            last = shorter.stat().st_size
        for end in range(last, len(whole)):
            segment.write_bytes(whole[:end])
            with opened(path) as (wal, recovered):
                assert values(wal, recovered) == [0, 1]
                assert recovered.torn == (1 if end > last else 0)
                assert recovered.damaged == 0
                wal.append([batch(99)])  # and it goes on with a number that is free
            with opened(path) as (wal, recovered):
                assert values(wal, recovered) == [0, 1, 99]
            for other in path.glob("*.wal"):
                if other != segment:
                    other.unlink()
            shutil.rmtree(path / QUARANTINE, ignore_errors=True)


@settings(max_examples=1000, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_costs_only_the_record_that_it_is_in(data: st.DataObject) -> None:
    with directory() as path:
        segments = filled(path, 12)
        assert len(segments) > 1
        segment = data.draw(st.sampled_from(segments))
        content = bytearray(segment.read_bytes())
        head = len(file_header(SCHEMA))
        at = data.draw(st.integers(head, len(content) - 1))
        content[at] ^= 1 << data.draw(st.integers(0, 7))
        segment.write_bytes(content)
        with opened(path) as (wal, recovered):
            left = values(wal, recovered)
            assert len(left) == 11
            assert left == sorted(set(left))
            assert recovered.damaged + recovered.torn == 1
        assert len(list((path / QUARANTINE).iterdir())) == 1
        with opened(path) as (wal, recovered):  # found again or cut off, but never worse
            assert values(wal, recovered) == left


def test_a_damaged_file_header_costs_no_record() -> None:
    with directory() as path:
        first, *_ = filled(path, 12)
        first.write_bytes(b"nonsense" + first.read_bytes()[8:])
        with opened(path) as (wal, recovered):
            assert values(wal, recovered) == list(range(12))
            assert recovered.damaged == 1


def test_what_is_stored_is_retained_for_a_while() -> None:
    with directory() as path:
        options = {**OPTIONS, "retain_s": 3600}
        wal = Wal(path, **options)
        wal.recover()
        for value in range(30):
            wal.append([batch(value)])
        wal.checkpoint(30)
        wal.close()
        wal = Wal(path, **options)
        assert wal.recover().backlog == []
        kept = [wal.read(location).column("n")[0].as_py() for location in wal.retained()]
        assert kept == list(range(30))
        wal.append([batch(30)])
        wal.checkpoint(5)  # stored once more: nothing is forgotten of what is not stored
        wal.close()
        with opened(path) as (again, recovered):
            assert values(again, recovered) == [30]


def test_what_a_full_disk_did_not_take_is_not_there_and_space_is_used_again() -> None:
    with directory() as path:
        disk = FakeDisk()
        wal = WalOnFakeDisk(path, disk, **OPTIONS)
        wal.recover()
        wal.append([batch(0)])
        for room in range(0, 2 * RECORD_HEADER_BYTES + 400, 7):
            disk.room = room
            with pytest.raises(WalError):
                wal.append([batch(1), batch(2), batch(3)])
            disk.room = None
        wal.append([batch(1)])
        wal.close()
        with opened(path) as (wal, recovered):
            assert values(wal, recovered) == [0, 1]
            assert recovered == Recovered(recovered.backlog)


def test_a_file_that_failed_to_sync_is_not_written_to_again() -> None:
    with directory() as path:
        disk = FakeDisk()
        wal = WalOnFakeDisk(path, disk, **OPTIONS)
        wal.recover()
        before = wal.append([batch(0)])[0].path
        disk.sync_fails = True
        for _ in range(3):
            with pytest.raises(WalError):
                wal.append([batch(1)])
        disk.sync_fails = False
        assert wal.append([batch(1)])[0].path != before
        wal.close()
        with opened(path) as (wal, recovered):
            assert values(wal, recovered) == [0, 1]


def test_a_directory_belongs_to_one_process_at_a_time() -> None:
    with directory() as path, opened(path), pytest.raises(BlockingIOError):
        Wal(path, **OPTIONS)


def test_segments_are_deleted_once_they_are_stored() -> None:
    with directory() as path:
        assert len(filled(path, 30)) > 2
        with opened(path) as (wal, recovered):
            stream = wal.stream_id
            wal.checkpoint(recovered.backlog[-1].sequence + 1)
            assert wal.size_bytes() == 0
            assert not list(path.glob("*.wal"))
            [location] = wal.append([batch(30)])
            assert location.sequence == 30
        with opened(path) as (wal, recovered):
            assert wal.stream_id == stream
            assert values(wal, recovered) == [30]


def test_a_checkpoint_that_can_not_be_read_sends_everything_again() -> None:
    with directory() as path:
        filled(path, 3)
        (path / "checkpoint").write_bytes(b"2 12345\n")
        with opened(path) as (wal, recovered):
            assert values(wal, recovered) == [0, 1, 2]
