"""Measure the CPU time of an event by step, without HTTP, and print a table in Markdown.

    uv run python -m bench.breakdown

A number is the CPU time of the whole process divided by the number of events, as the median of
several rounds. A running service takes more than the sum, as `bench.throughput` shows. The rest is
HTTP, the event loop and merges.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.clients.arrow import to_batch, to_stream
from bench.clients.http import batch_body
from bench.clients.pool import EventPool
from bench.harness.machine import describe
from bench.throughput import START
from ingest.event.arrow import RECORD_SCHEMA, TABLE_SCHEMA, to_columns
from ingest.event.text import to_structs
from ingest.parsing.arrow_parser import parse_lists
from ingest.parsing.arrow_stream.stream_parser import parse_stream
from ingest.parsing.batch import Batch
from ingest.parsing.formats import BodyFormat
from ingest.parsing.parser import parse_each
from ingest.pipeline.committer import Commit
from ingest.pipeline.dedup import DedupWindow
from ingest.pipeline.identity import Identities, identify
from ingest.pipeline.rows import new_rows, record_batch
from ingest.process import calm_garbage_collector, return_freed_memory
from storage.clickhouse.client import connect, embedded_dsn, prepare_embedded
from storage.clickhouse.writer import Writer
from storage.tables.migrations import migrate
from storage.tables.schema import EVENTS_TABLE
from storage.wal.wal import Wal

GATHERED, FLUSH_EVENTS = 50, 20_000
LIMITS = {"bytes_max": 1 << 30, "events_max": FLUSH_EVENTS}
STEP = "decode and validate"

Rows = dict[str, list[float]]
"""CPU time per event in µs: one value for each round, by step."""


def main(
    batch_size: Annotated[int, typer.Option(help="Events in a batch, at most 20,000")] = 1_000,
    rounds: Annotated[int, typer.Option(help="Rounds; the table has their medians")] = 5,
) -> None:
    """Measure all steps and print the table."""
    calm_garbage_collector()
    return_freed_memory()
    pool = EventPool(FLUSH_EVENTS, start=START, days=31)
    batches: Rows = {}
    arrow: Rows = {}
    singles: Rows = {}
    with tempfile.TemporaryDirectory() as directory:
        parts = _Parts(Path(directory))
        for _ in range(rounds):
            parts.measure_batches(pool.take(FLUSH_EVENTS), batch_size, batches)
            parts.measure_arrow(pool.take(FLUSH_EVENTS), batch_size, arrow)
            parts.measure_singles(pool.take(FLUSH_EVENTS), singles)
    columns = (batches, arrow, singles)
    print("\n".join(f"- {name}: {text}" for name, text in describe().items()))
    heads = (f"batches of {batch_size:,}", "the same as Arrow", f"single, {GATHERED} at a time")
    print(f"\n| CPU µs per event | {' | '.join(heads)} |")
    print("| --- | --- | --- | --- |")
    for step in singles:
        print(f"| {step} | {' | '.join(_median(rows, step) for rows in columns)} |")
    print(f"| **sum** | {' | '.join(f'**{_sum(rows)}**' for rows in columns)} |")


def _median(rows: Rows, step: str) -> str:
    return f"{statistics.median(rows[step]):.1f}" if step in rows else ""


def _sum(rows: Rows) -> str:
    return f"{sum(statistics.median(values) for values in rows.values()):.1f}"


class _Parts:
    """The parts of a service that a step uses: WAL, dedup window and writer."""

    def __init__(self, directory: Path) -> None:
        options: dict[str, Any] = {"segment_bytes": 64 << 20, "bytes_max": 1 << 40, "retain_s": 0}
        self._wal = Wal(directory / "wal", schema=RECORD_SCHEMA, **options)
        self._wal.recover()
        self._dedup: DedupWindow[Commit] = DedupWindow(keys_max=1_000_000)
        prepare_embedded(directory)

        def open_storage() -> Any:
            client = connect(embedded_dsn(directory))
            migrate(client, TABLE_SCHEMA)
            return client

        self._writer = Writer(open_storage, EVENTS_TABLE)
        self._writer.open()
        self._flushes = 0

    def measure_batches(self, events: list[bytes], size: int, rows: Rows) -> None:
        bodies = [batch_body(events[at : at + size]) for at in range(0, len(events), size)]
        parsed = _timed(rows, STEP, lambda: [parse_lists([body]) for body in bodies])
        self._measure_rest([counted[0] for counted in parsed if counted is not None], rows)

    def measure_arrow(self, events: list[bytes], size: int, rows: Rows) -> None:
        bodies = [to_stream(to_batch(events[at : at + size])) for at in range(0, len(events), size)]
        parsed = _timed(rows, STEP, lambda: [parse_stream(body, **LIMITS) for body in bodies])
        self._measure_rest(parsed, rows)

    def measure_singles(self, events: list[bytes], rows: Rows) -> None:
        groups = [events[at : at + GATHERED] for at in range(0, len(events), GATHERED)]
        parsed = _timed(
            rows,
            STEP,
            lambda: [parse_each(BodyFormat.EVENT, group, GATHERED).batch for group in groups],
        )
        self._measure_rest(parsed, rows)

    def _measure_rest(self, batches: list[Batch], rows: Rows) -> None:
        identities = _timed(
            rows,
            "ids",
            lambda: [identify(b, idempotency_keys=None, received_us=1) for b in batches],
        )
        commits = [Commit(durable=True) for _ in batches]
        _timed(rows, "dedup", lambda: self._deduplicate(commits, identities))
        records = _timed(
            rows,
            "record batch",
            lambda: [
                record_batch(new_rows(batch.events, identified, range(batch.size), received_us=1))
                for batch, identified in zip(batches, identities, strict=True)
            ],
        )
        _timed(rows, "WAL, with sync", lambda: [self._wal.append([record]) for record in records])
        table = _timed(rows, "columns", lambda: to_columns(to_structs(records)))
        self._flushes += 1
        token = str(self._flushes)
        _timed(rows, "insert, rollups included", lambda: self._writer.write(table, token=token))

    def _deduplicate(self, commits: list[Commit], identities: list[Identities]) -> None:
        for commit, identified in zip(commits, identities, strict=True):
            self._dedup.claim(identified.keys, commit)
            self._dedup.confirm(identified.keys)


def _timed(rows: Rows, step: str, function: Callable[[], Any]) -> Any:
    started_s = time.process_time()
    result = function()
    rows.setdefault(step, []).append((time.process_time() - started_s) / FLUSH_EVENTS * 1e6)
    return result


if __name__ == "__main__":
    typer.run(main)
