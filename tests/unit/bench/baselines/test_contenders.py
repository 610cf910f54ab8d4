"""Every contender stores all events of its load, in either storage."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.baselines.contenders import Load, Outcome, clickhouse, team
from bench.clients.batches import BatchFormat
from bench.clients.generate import generate
from bench.harness.storage import Storage, StorageKind, running_storage

START = datetime(2024, 1, 1, tzinfo=UTC)
LINES = list(generate(25, seed=3, start=START, days=1))


@pytest.mark.parametrize("kind", list(StorageKind))
@pytest.mark.parametrize(
    "contender", [clickhouse, team, lambda *load: team(*load, "--async-insert")]
)
def test_a_baseline_stores_all_events(
    kind: StorageKind, contender: Callable[[Load, Path, Storage], Outcome], tmp_path: Path
) -> None:
    with running_storage(kind, tmp_path / "clickhouse") as storage:
        outcome = contender(Load(LINES, 10), tmp_path, storage)  # it checks the count
    assert outcome.events_per_s > 0
    assert outcome.rss_bytes > 0
    assert (outcome.server_rss_bytes > 0) == (kind is StorageKind.SERVER)


def test_a_load_is_sent_in_batches_or_one_by_one() -> None:
    assert len(Load(LINES, 1).requests()) == 25
    for batch_format in BatchFormat:
        assert len(Load(LINES, 10).requests(batch_format)) == 3
