"""Options that several commands have, and the end of a command that fails."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ingest.config.logging import configure_logging
from ingest.config.settings import Settings, SettingsError, load_settings

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


def command_settings(
    config: Path | None, data_dir: Path | None, clickhouse_url: str | None = None
) -> Settings:
    """Load the settings of a command, and log as the service does.

    Without that, the ClickHouse driver prints a traceback before the command prints its error.
    """
    try:
        settings = load_settings(config, data_dir=data_dir, clickhouse_url=clickhouse_url)
    except SettingsError as error:
        fail(error)
    configure_logging(settings.log)
    return settings
