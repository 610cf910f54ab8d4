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
from typing import Any

import typer

from bench.clients.http import batch_body
from bench.clients.pool import EventPool
from bench.harness.machine import describe
from bench.throughput import START
from ingest.event.arrow import RECORD_SCHEMA, TABLE_SCHEMA, to_columns
from ingest.event.text import to_structs
from ingest.parsing.arrow_parser import parse_lists
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

BATCH_EVENTS, GATHERED, FLUSH_EVENTS = 1_000, 50, 20_000
ROUNDS = 5

Rows = dict[str, list[float]]
"""CPU time per event in µs: one value for each round, by step."""


def main() -> None:
    """Measure all steps and print the table."""
    calm_garbage_collector()
    return_freed_memory()
    pool = EventPool(FLUSH_EVENTS, start=START, days=31)
    batches: Rows = {}
    singles: Rows = {}
    with tempfile.TemporaryDirectory() as directory:
        parts = _Parts(Path(directory))
        for _ in range(ROUNDS):
            parts.measure_batches(pool.take(FLUSH_EVENTS), batches)
            parts.measure_singles(pool.take(FLUSH_EVENTS), singles)
    print("\n".join(f"- {name}: {text}" for name, text in describe().items()))
    print(f"\n| CPU µs per event | batches of {BATCH_EVENTS:,} | single, {GATHERED} at a time |")
    print("| --- | --- | --- |")
    for step in singles:
        print(f"| {step} | {_median(batches, step)} | {_median(singles, step)} |")
    print(f"| **sum** | **{_sum(batches)}** | **{_sum(singles)}** |")


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

    def measure_batches(self, events: list[bytes], rows: Rows) -> None:
        bodies = [
            batch_body(events[at : at + BATCH_EVENTS]) for at in range(0, len(events), BATCH_EVENTS)
        ]
        parsed = _timed(
            rows, "decode and validate", lambda: [parse_lists([body]) for body in bodies]
        )
        self._measure_rest([counted[0] for counted in parsed if counted is not None], rows)

    def measure_singles(self, events: list[bytes], rows: Rows) -> None:
        groups = [events[at : at + GATHERED] for at in range(0, len(events), GATHERED)]
        parsed = _timed(
            rows,
            "decode and validate",
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
