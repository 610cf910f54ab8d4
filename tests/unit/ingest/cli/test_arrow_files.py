"""Bodies of Parquet and Arrow files: the same for the same rows, within limits, and resumable."""

import io
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.cli.arrow_files import BODY_BYTES_MAX
from ingest.cli.event_files import Source, SourceError, open_source
from ingest.cli.loader import Body
from ingest.parsing.compression import zstd

ROWS = [
    {
        "name": f"event {i}",
        "channel_type": "web" if i % 3 else None,
        "user_id": None if i % 4 else f"user {i}",
        "timestamp": None if i % 5 else 1_705_312_800 + i,
        "event_params": None if i % 7 == 0 else [{"key": "k", "string_value": "v" * i}] * (i % 3),
        "device": None if i % 6 == 0 else {"category": "desktop", "language": None},
    }
    for i in range(100)
]
TABLE = pa.Table.from_pylist(ROWS)
ENDINGS = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]


def parquet(path: Path, table: pa.Table, rows: int = 1_000, **options: Any) -> Path:
    pq.write_table(table, path, row_group_size=rows, **options)
    return path


def arrow_file(path: Path, table: pa.Table, rows: int = 1_000, **options: Any) -> Path:
    write = pa.ipc.IpcWriteOptions(unify_dictionaries=True, **options)
    with pa.ipc.new_file(path, table.schema, options=write) as writer:
        writer.write_table(table, rows)
    return path


def arrow_stream(path: Path, table: pa.Table, rows: int = 1_000, **options: Any) -> Path:
    with pa.ipc.new_stream(path, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, rows)
    return path


WRITERS = [parquet, arrow_file, arrow_stream]


def opened(path: Path, size: int | None = 10, skip: int = 0) -> Source:
    return open_source(io.BytesIO(path.read_bytes()), str(path), batch_size=size, skip=skip)


def bodies(path: Path, size: int | None = 10, skip: int = 0) -> list[Body]:
    return list(opened(path, size, skip).bodies)


def rows_of(sent: Sequence[Body]) -> list[dict[str, Any]]:
    return [row for body in sent for row in pa.ipc.open_stream(body.data).read_all().to_pylist()]


def places(sent: Sequence[Body]) -> list[tuple[int, int, str]]:
    return [(body.first, body.count, body.key) for body in sent]


@pytest.fixture
def expected(tmp_path: Path) -> list[Body]:
    return bodies(parquet(tmp_path / "expected", TABLE))


@pytest.mark.parametrize("rows", [1, 7, 10, 1000])
@pytest.mark.parametrize("write", WRITERS)
def test_bodies_do_not_depend_on_the_format_and_its_parts(
    tmp_path: Path, expected: list[Body], write: Callable[..., Path], rows: int
) -> None:
    path = write(tmp_path / "file", TABLE, rows)
    found = bodies(path)
    assert [body.end for body in found] == ENDINGS
    assert [body.key for body in found] == [body.key for body in expected]
    assert len({body.key for body in found}) == 10
    assert rows_of(found) == ROWS
    assert opened(path).total == (None if write is arrow_stream else 100)


def test_the_default_is_larger_for_columns(tmp_path: Path) -> None:
    assert opened(arrow_stream(tmp_path / "file", TABLE), size=None).batch_size == 10_000
    (tmp_path / "json").write_bytes(b"{}")
    assert opened(tmp_path / "json", size=None).batch_size == 1_000


# What other programs write. The types are those of their files.
def as_pandas(_write: object) -> pa.Table:
    texts = pa.large_string()
    schema = TABLE.schema.set(0, pa.field("name", texts)).set(
        1, pa.field("channel_type", pa.dictionary(pa.int8(), texts))
    )
    table = TABLE.cast(schema).append_column("__index_level_0__", pa.array(map(str, range(100))))
    return table.replace_schema_metadata({"pandas": '{"index_columns": ["__index_level_0__"]}'})


def as_polars(write: object) -> pa.Table:
    """Texts are views in Arrow files and streams. A categorical is a dictionary of them."""
    text = pa.large_string() if write is parquet else pa.string_view()
    kinds = {
        "name": text,
        "channel_type": pa.dictionary(pa.uint32(), pa.string()),
        "user_id": text,
        "timestamp": pa.int64(),
        "event_params": pa.large_list(pa.struct([("key", text), ("string_value", text)])),
        "device": pa.struct([("category", text), ("language", text)]),
    }
    table = TABLE.cast(pa.schema(list(kinds.items())))
    [column] = table.column("channel_type").chunks
    categorical = pa.DictionaryArray.from_arrays(column.indices, column.dictionary.cast(text))
    return table.set_column(1, "channel_type", categorical)


def as_spark(_write: object) -> pa.Table:
    maps = [
        None if row["event_params"] is None else [("k", "v" * i)] * len(row["event_params"])
        for i, row in enumerate(ROWS)
    ]
    return TABLE.set_column(
        4, "event_params", pa.array(maps, pa.map_(pa.string(), pa.large_string()))
    )


@pytest.mark.parametrize("rows", [7, 1000])
@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("table_as", [as_pandas, as_polars, as_spark])
def test_bodies_do_not_depend_on_the_types_of_texts_and_lists(
    tmp_path: Path,
    expected: list[Body],
    table_as: Callable[..., pa.Table],
    write: Callable[..., Path],
    rows: int,
) -> None:
    found = bodies(write(tmp_path / "file", table_as(write), rows, compression="zstd"))
    assert rows_of(found) == ROWS
    assert [body.key for body in found] == [body.key for body in expected]


def test_a_later_version_makes_the_same_keys(tmp_path: Path, expected: list[Body]) -> None:
    """A key may change only if events without ids may be counted again after an update."""
    assert expected[0].key == "47effe531e32c8b78d7dbf59310041fb"
    (tmp_path / "file.ndjson").write_bytes(b'{"name":"a"}\n{"name":"b"}')
    assert bodies(tmp_path / "file.ndjson", 1)[1].key == "7b958377d372b6c65dca51e7a14c6640"


def test_what_stands_in_the_place_of_a_null_does_not_change_the_key(tmp_path: Path) -> None:
    valid = pa.py_buffer(b"\x01")
    keys = set()
    for hidden in (0, 77):
        numbers = pa.array([5, hidden], pa.int64()).buffers()[1]
        times = pa.Array.from_buffers(pa.int64(), 2, [valid, numbers])
        texts = pa.array(["a", "b" * hidden]).buffers()
        names = pa.Array.from_buffers(pa.string(), 2, [valid, *texts[1:]])
        table = pa.table({"timestamp": times, "name": names})
        [body] = bodies(arrow_stream(tmp_path / "file", table))
        assert rows_of([body])[1] == {"timestamp": None, "name": None}
        keys.add(body.key)
    assert len(keys) == 1


@pytest.mark.parametrize(
    "other",
    [{"name": ["a", "bc"]}, {"name": ["ab", ""]}, {"name": ["ab", None]}, {"user_id": ["ab", "c"]},
     {"timestamp": [1, 2]}, {"timestamp": [1.0, 2.0]}, {"name": ["ab"]},
     {"event_params": [[{"key": "a"}], [{"key": "b"}]]},
     {"event_params": [[{"key": "a"}, {"key": "b"}], []]}],
    ids=str,
)  # fmt: skip
def test_other_content_has_another_key(tmp_path: Path, other: dict[str, Any]) -> None:
    first, second = (
        bodies(arrow_stream(tmp_path / str(i), pa.table(columns)))[0].key
        for i, columns in enumerate([{"name": ["ab", "c"]}, other])
    )
    assert first != second


def test_the_position_is_a_part_of_the_key(tmp_path: Path) -> None:
    same = pa.table({"name": ["e"] * 20})
    first, second = bodies(parquet(tmp_path / "file", same))
    assert first.key != second.key


@pytest.mark.parametrize("write", WRITERS)
def test_uuids_of_duckdb_become_texts(tmp_path: Path, write: Callable[..., Path]) -> None:
    ids = [uuid.uuid4(), None]
    table = pa.table({"id": pa.array([i and i.bytes for i in ids], pa.uuid())})
    assert rows_of(bodies(write(tmp_path / "file", table))) == [{"id": str(ids[0])}, {"id": None}]


def test_only_columns_of_an_event_are_sent(tmp_path: Path) -> None:
    table = TABLE.append_column("device.os", pa.array(range(100))).append_column(
        "user_ids", pa.array(range(100))
    )
    for write in WRITERS:
        assert rows_of(bodies(write(tmp_path / "file", table))) == ROWS


@pytest.mark.parametrize("rows", [7, 1000])
@pytest.mark.parametrize("write", WRITERS)
def test_bodies_after_skip_are_those_of_the_whole_file(
    tmp_path: Path, write: Callable[..., Path], rows: int
) -> None:
    path = write(tmp_path / "file", TABLE, rows)
    whole = bodies(path)
    for skip in (0, 10, 50, 90, 100):
        assert places(bodies(path, skip=skip)) == places(whole)[skip // 10 :]
    for skip in (5, 99):
        with pytest.raises(SourceError, match="No request begins at --skip"):
            bodies(path, skip=skip)


def large(rows: int, each: int) -> pa.Table:
    names = [f"{i:04}" * (each // 4) for i in range(rows)]
    return pa.table({"name": names, "channel_type": ["web"] * rows})


@pytest.mark.parametrize("write", WRITERS)
def test_rows_that_are_large_are_sent_in_halves_and_can_be_skipped(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    path = write(tmp_path / "file", large(450, each=65_536))  # 28 MiB
    whole = bodies(path, size=400)
    assert [body.end for body in whole] == [200, 400, 450]
    for body in whole:
        assert pa.ipc.open_stream(body.data).read_all().nbytes <= BODY_BYTES_MAX
        rest = bodies(path, size=400, skip=body.end)
        assert places(rest) == places(whole)[whole.index(body) + 1 :]
    with pytest.raises(SourceError, match="No request begins at --skip"):
        bodies(path, size=400, skip=100)


def test_a_dictionary_counts_as_large_as_it_is_decoded(tmp_path: Path) -> None:
    column = pa.array(["a" * 65_536] * 400).dictionary_encode()
    path = arrow_file(tmp_path / "file", pa.table({"name": column}))
    assert [body.end for body in bodies(path, size=400)] == [200, 400]


def test_a_large_dictionary_of_views_is_not_sent_with_every_body(tmp_path: Path) -> None:
    ids = [f"{i:06}" * 20 for i in range(200_000)]  # 23 MiB
    values = pa.array(ids, pa.string_view())
    column = pa.DictionaryArray.from_arrays(pa.array(range(200_000), pa.int32()), values)
    path = arrow_file(tmp_path / "file", pa.table({"id": column}))
    sent = bodies(path, size=10_000)
    assert len(sent) == 20
    assert sum(len(body.data) for body in sent) < 25 << 20


def test_a_row_that_is_too_large_is_named(tmp_path: Path) -> None:
    params = [[{"key": "a"}]] * 3 + [[{"key": "a"}] * 1_000_000]
    with pytest.raises(SourceError, match="Row 4 of the file is too large"):
        bodies(parquet(tmp_path / "file", pa.table({"event_params": params})))


def test_skipped_parts_are_not_read(tmp_path: Path) -> None:
    path = parquet(tmp_path / "file", TABLE, 20)
    end = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    with path.open("r+b") as file:
        file.seek(4)
        file.write(b"\xff" * (end - 64))
    with pytest.raises(SourceError, match="damaged"):
        bodies(path)
    assert rows_of(bodies(path, skip=40)) == ROWS[40:]


def test_a_row_group_is_read_in_batches(tmp_path: Path) -> None:
    path = parquet(tmp_path / "file", large(20_000, each=4_000), 20_000)  # 80 MB
    before = pa.total_allocated_bytes()
    for _ in opened(path, size=100).bodies:
        assert pa.total_allocated_bytes() - before < 16 << 20


def test_a_file_without_the_columns_of_an_event_says_which_there_are(tmp_path: Path) -> None:
    for write in WRITERS:
        path = write(tmp_path / "file", pa.table({"event": ["a"], "ts": [1]}))
        with pytest.raises(SourceError) as error:
            opened(path)
        assert "Its columns are event, ts. Needed are channel_type and name;" in str(error.value)
        assert "timestamp" in str(error.value)


def test_columns_that_can_not_be_sent_are_named(tmp_path: Path) -> None:
    twice = pa.table([["a"], ["b"]], names=["name", "name"])
    with pytest.raises(SourceError, match="two columns name"):
        opened(arrow_stream(tmp_path / "twice", twice))
    wrong = pa.table({"name": ["a"], "device": ["phone"]})
    with pytest.raises(SourceError, match="Column device must be a struct, not string"):
        bodies(parquet(tmp_path / "wrong", wrong))


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("write", WRITERS)
def test_a_file_that_is_cut_off_says_so_in_one_line(
    tmp_path: Path, write: Callable[..., Path], cut: float
) -> None:
    path = write(tmp_path / "file", TABLE, 20)
    os.truncate(path, int(path.stat().st_size * cut))
    with pytest.raises(SourceError, match="damaged, cut off or not supported: ") as error:
        bodies(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("write", WRITERS)
def test_a_damaged_file_is_read_or_explained(tmp_path: Path, write: Callable[..., Path]) -> None:
    path = write(tmp_path / "file", TABLE, 20)
    whole = path.read_bytes()
    errors = []
    for place in [*range(8, 500, 9), *range(len(whole) - 500, len(whole), 9)]:
        path.write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
        try:
            bodies(path)
        except SourceError as error:
            errors.append(str(error))
    assert len(errors) > 10
    assert not any("\n" in error for error in errors)


@pytest.mark.parametrize("write", WRITERS)
def test_a_compressed_stream_is_read_and_a_compressed_file_explained(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    path = write(tmp_path / "file", TABLE)
    path.write_bytes(zstd.compress(path.read_bytes()))
    if write is arrow_stream:
        assert rows_of(bodies(path)) == ROWS
    else:
        with pytest.raises(SourceError, match="must be plain files, not compressed"):
            opened(path)


@pytest.mark.parametrize("write", WRITERS)
def test_a_pipe_can_carry_a_stream(tmp_path: Path, write: Callable[..., Path]) -> None:
    pipe = io.BytesIO(write(tmp_path / "file", TABLE).read_bytes())
    if write is arrow_stream:
        source = open_source(pipe, None, batch_size=10, skip=20)
        assert rows_of(list(source.bodies)) == ROWS[20:]
    else:
        with pytest.raises(SourceError, match="not a pipe"):
            open_source(pipe, None, batch_size=10, skip=0)


@pytest.mark.parametrize("write", WRITERS)
def test_an_empty_file_has_no_bodies(tmp_path: Path, write: Callable[..., Path]) -> None:
    assert bodies(write(tmp_path / "file", TABLE.slice(0, 0))) == []
