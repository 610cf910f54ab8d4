"""The `event-stream` command: the subcommands together, with `serve` and `generate`."""

import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ingest.cli import dead_letters as cli_dead_letters
from ingest.cli import keys as cli_keys
from ingest.cli.bench import bench
from ingest.cli.doctor import doctor
from ingest.cli.load import load
from ingest.cli.migrate import migrate
from ingest.cli.options import ConfigOption, DataDirOption, UrlOption, fail
from ingest.config.settings import SettingsError, load_settings

app = typer.Typer(
    name="event-stream",
    help="Collect events over HTTP and query exact metrics, on embedded or clustered ClickHouse.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(load)
app.command()(doctor)
app.command()(migrate)
app.add_typer(cli_dead_letters.app, name="dead-letters")
app.add_typer(cli_keys.app, name="keys")
app.command()(bench)


@app.command()
def serve(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="IP address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on")] = None,
    workers: Annotated[int | None, typer.Option(help="Number of worker processes")] = None,
    data_dir: DataDirOption = None,
    clickhouse_url: UrlOption = None,
) -> None:
    """Run the service until SIGTERM or Ctrl-C.

    Options override EVENT_STREAM_* environment variables, which override the settings file.
    """
    from ingest.server.preflight import StartError
    from ingest.server.supervisor import serve as run

    try:
        settings = load_settings(
            config,
            host=host,
            port=port,
            workers=workers,
            data_dir=data_dir,
            clickhouse_url=clickhouse_url,
        )
        code = run(settings)
    except (SettingsError, StartError) as error:
        fail(error)
    raise typer.Exit(code)


@app.command()
def generate(
    count: Annotated[int, typer.Argument(min=0, help="Number of events")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same events")] = 1,
    start: Annotated[datetime, typer.Option(help="First day, in UTC")] = datetime(2024, 1, 1),
    days: Annotated[int, typer.Option(min=1, help="Number of days that the events cover")] = 31,
    ids: Annotated[bool, typer.Option(help="Give each event an id")] = True,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write (default: stdout)")
    ] = None,
) -> None:
    """Write realistic GA4-like events as NDJSON. Pipe them into `event-stream load -`."""
    from bench.clients.generate import generate as events

    try:
        with output.open("wb") if output else nullcontext(sys.stdout.buffer) as out:
            for event in events(
                count, seed=seed, start=start.replace(tzinfo=UTC), days=days, ids=ids
            ):
                out.write(event + b"\n")
            out.flush()
    except OSError as error:
        fail(error)


def main() -> None:
    """Run the command."""
    app()
