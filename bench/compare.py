"""Compare this service with other ways to get the same events into the same engine.

    uv run python -m bench.compare

- clickhouse: one insert by ClickHouse's own JSON reader, without a service
- team: FastAPI, pydantic and one insert for each request (bench/baselines/plain_team.py)
- team async: the same with ClickHouse's async_insert
- service: this service, with batches of JSON
- arrow: this service, with the same batches as Arrow
- without WAL: this service without its write-ahead log, with batches of JSON

The contenders run in turns on one machine. Each is measured until the last event is queryable, on
its own storage: the embedded engine, or a ClickHouse server that is started for it. Prints events
per second, CPU time per event and peak memory by round. Also prints the ratios of this service to
the others, with their ranges over the rounds.
"""

import platform
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from bench.baselines.contenders import Load, Outcome, clickhouse, service, team
from bench.clients.batches import BatchFormat
from bench.clients.generate import generate
from bench.harness.storage import Storage, StorageKind, running_storage
from bench.throughput import START

Contender = Callable[[Load, Path, Storage], Outcome]

CONTENDERS: Mapping[str, Contender] = {
    "clickhouse": clickhouse,
    "team": team,
    "team async": lambda *load: team(*load, "--async-insert"),
    "service": service,
    "arrow": partial(service, batch_format=BatchFormat.ARROW),
    "without WAL": partial(service, has_wal=False),
}
SLOW = ("team", "team async")
"""They get only a share of the events."""


def main(
    events: Annotated[int, typer.Option(help="Events in a round")] = 200_000,
    batch_size: Annotated[
        int, typer.Option(help="Events in a request; 1 for single events, without arrow")
    ] = 1_000,
    rounds: Annotated[int, typer.Option(help="Rounds for each contender")] = 3,
    share: Annotated[float, typer.Option(help="Share of the events for slow contenders")] = 0.05,
    storage: Annotated[
        StorageKind, typer.Option(help="Storage of all contenders")
    ] = StorageKind.EMBEDDED,
    only: Annotated[
        list[str] | None, typer.Option(help="Contender to measure; repeat it (default: all)")
    ] = None,
) -> None:
    """Measure all contenders in turns."""
    unknown = sorted(set(only or ()) - set(CONTENDERS))
    if unknown:
        raise typer.BadParameter(f"There is no contender {unknown[0]}", param_hint="--only")
    print(f"{platform.machine()}, Python {platform.python_version()}, {events:,} events, {storage}")
    lines = list(islice(generate(events, seed=1, start=START, days=1), events))
    all_events = Load(lines, batch_size)
    few = Load(lines[: max(batch_size, int(events * share))], batch_size)
    chosen = {
        label: contender
        for label, contender in CONTENDERS.items()
        if (not only or label in only) and not (label == "arrow" and batch_size == 1)
    }
    outcomes: dict[str, list[Outcome]] = {label: [] for label in chosen}
    for number in range(1, rounds + 1):
        for label, contender in chosen.items():
            load = few if label in SLOW else all_events
            with (
                tempfile.TemporaryDirectory() as name,
                running_storage(storage, Path(name) / "clickhouse") as place,
            ):
                outcome = contender(load, Path(name), place)
            outcomes[label].append(outcome)
            print(f"round {number} {label:12} {_row(outcome)}", flush=True)
    print("\n".join(ratios(outcomes)))


def _row(outcome: Outcome) -> str:
    row = f"{outcome.events_per_s:10,.0f} events/s {outcome.cpu_us_per_event:8.1f} CPU µs"
    row += f" {outcome.rss_bytes / 2**20:6,.0f} MiB"
    if outcome.server_rss_bytes:
        row += f"; with the server {outcome.total_us_per_event:8.1f} CPU µs"
        row += f" {(outcome.rss_bytes + outcome.server_rss_bytes) / 2**20:6,.0f} MiB"
    return row


def ratios(outcomes: Mapping[str, Sequence[Outcome]]) -> Iterator[str]:
    """Yield a line for each ratio of the rates of this service to those of the others."""
    for ours in ("service", "arrow"):
        for theirs in outcomes:
            if ours == theirs or ours not in outcomes or (ours, theirs) == ("service", "arrow"):
                continue
            pairs = zip(outcomes[ours], outcomes[theirs], strict=True)
            ratios = [own.events_per_s / other.events_per_s for own, other in pairs]
            yield (
                f"{ours:7} / {theirs:12} {statistics.median(ratios):8.2f}"
                f" ({min(ratios):.2f} to {max(ratios):.2f})"
            )


if __name__ == "__main__":
    typer.run(main)
