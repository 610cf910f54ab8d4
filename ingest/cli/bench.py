"""event-stream bench: what this machine does, measured and checked."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from ingest.cli.options import fail


def bench(
    scenario: Annotated[
        list[str] | None, typer.Argument(help="Only these; --list shows all [default: all]")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Time of each step")] = 8,
    report: Annotated[Path, typer.Option(help="Directory for the report")] = Path("bench-report"),
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="YAML file of settings of the services")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="List the scenarios, and stop")] = False,
) -> None:
    """Measure the service under every kind of load, and write a report with plots.

    Starts a service of its own for each scenario, with an empty directory, and fails when an event
    was lost or counted twice.
    """
    if find_spec("locust") is None:
        fail("Locust is needed to make load: install event-stream[bench]")
    from bench.suite import SCENARIOS, ScenarioError, run

    if show:
        print("\n".join(s.name for s in SCENARIOS))
        return
    chosen = [s for s in SCENARIOS if not scenario or s.name in scenario]
    unknown = set(scenario or ()) - {s.name for s in SCENARIOS}
    if unknown:
        fail(f"There is no scenario {sorted(unknown)[0]}: --list shows all")
    try:
        run(chosen, seconds=seconds, report=report, config=config)
    except (ScenarioError, OSError) as error:
        fail(error)
