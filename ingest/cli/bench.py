"""`event-stream bench`: measure the service on this machine, and check its results."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from ingest.cli.options import fail


def bench(
    scenario: Annotated[
        list[str] | None, typer.Argument(help="Scenarios to run; --list shows them (default: all)")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Duration of each step")] = 8,
    report: Annotated[Path, typer.Option(help="Directory for the report")] = Path("bench-report"),
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="YAML settings file for the services")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="List the scenarios and exit")] = False,
) -> None:
    """Measure the service under every kind of load, and write a report with plots.

    Each scenario starts its own service with an empty data directory. The command fails if an event
    is lost or counted twice.
    """
    if find_spec("locust") is None:
        fail("bench needs Locust. Install it with: pip install event-stream[bench]")
    from bench.suite import SCENARIOS, ScenarioError, run

    if show:
        print("\n".join(s.name for s in SCENARIOS))
        return
    chosen = [s for s in SCENARIOS if not scenario or s.name in scenario]
    unknown = set(scenario or ()) - {s.name for s in SCENARIOS}
    if unknown:
        fail(f"There is no scenario {sorted(unknown)[0]}. --list shows the scenarios")
    try:
        run(chosen, seconds=seconds, report=report, config=config)
    except (ScenarioError, OSError) as error:
        fail(error)
