"""What all commands have in common: their options, and how they fail."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="YAML file of settings [default: config/config.yaml]"),
]
DataDirOption = Annotated[Path | None, typer.Option(help="Where the service keeps files")]
UrlOption = Annotated[
    str | None, typer.Option(help="A ClickHouse server instead of the embedded engine")
]


def fail(error: object) -> NoReturn:
    """End the command with what is wrong, in one line, and exit code 2."""
    typer.echo(f"event-stream: {error}", err=True)
    raise typer.Exit(2)
