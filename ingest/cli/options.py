"""Options that several commands have, and the end of a command that fails."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="YAML settings file (default: config/config.yaml)"),
]
DataDirOption = Annotated[Path | None, typer.Option(help="Directory for the service's files")]
UrlOption = Annotated[
    str | None,
    typer.Option(help="URL of a ClickHouse server; without it the embedded engine is used"),
]


def fail(error: object) -> NoReturn:
    """Print the error in one line, and end the command with exit code 2."""
    typer.echo(f"event-stream: {error}", err=True)
    raise typer.Exit(2)
