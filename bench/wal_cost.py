"""Measure the cost of durability: batches with and without the write-ahead log (WAL), in turns.

    uv run python -m bench.wal_cost

Prints events per second for each round, and the cost as a share of the median rate.
"""

import statistics
import tempfile
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from bench.clients.batches import batch_requests
from bench.clients.generate import generate
from bench.harness.service import HOST, running_service
from bench.throughput import CONNECTIONS_BATCH, START, measure

COST_MAX = 0.15


def main(
    events: Annotated[int, typer.Option(help="Events in a round")] = 300_000,
    batch_size: Annotated[int, typer.Option(help="Events in a batch")] = 1_000,
    rounds: Annotated[int, typer.Option(help="Rounds of each kind")] = 3,
) -> None:
    """Measure, and exit with 1 if the WAL costs more than 15 % of the rate."""
    source = generate(events, seed=1, start=START, days=31)
    requests = list(batch_requests(islice(source, events), batch_size, host=HOST))
    rates: dict[str, list[float]] = {"with": [], "without": []}
    for number in range(rounds):
        for kind, rate in rates.items():
            environment = {"EVENT_STREAM_WAL__ENABLED": str(kind == "with")}
            with (
                tempfile.TemporaryDirectory() as data_dir,
                running_service(Path(data_dir), environment=environment) as service,
            ):
                measured = measure(service, requests, events, connections=CONNECTIONS_BATCH)
            rate.append(measured.events_per_s)
            print(f"round {number + 1} {kind:8} the WAL: {measured.events_per_s:10,.0f} events/s")
    cost = 1 - statistics.median(rates["with"]) / statistics.median(rates["without"])
    print(f"the WAL costs {cost:.1%} of throughput")
    raise typer.Exit(1 if cost > COST_MAX else 0)


if __name__ == "__main__":
    typer.run(main)
