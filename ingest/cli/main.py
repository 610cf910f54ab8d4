"""The command line."""

import sys
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console
from rich.progress import Progress

from ingest.cli import dead_letters as cli_dead_letters
from ingest.cli import keys as cli_keys
from ingest.cli.bench import bench
from ingest.cli.migrate import migrate
from ingest.cli.options import ConfigOption, DataDirOption, UrlOption, fail
from ingest.config.settings import SettingsError, load_settings

READ_ALL_TIMEOUT_S = 3600

app = typer.Typer(
    name="event-stream",
    help="Events in over HTTP, exact metrics out, on embedded or clustered ClickHouse.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(migrate)
app.add_typer(cli_dead_letters.app, name="dead-letters")
app.add_typer(cli_keys.app, name="keys")
app.command()(bench)


@app.command()
def serve(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="IP address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes")] = None,
    data_dir: DataDirOption = None,
    clickhouse_url: UrlOption = None,
) -> None:
    """Run the service until SIGTERM or Ctrl-C.

    Options win over EVENT_STREAM_* environment variables, which win over the settings file.
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
def load(
    file: Annotated[str, typer.Argument(help="NDJSON or JSON, plain, gzip or zstd; - for stdin")],
    url: Annotated[str, typer.Option(help="The service")] = "http://127.0.0.1:8080",
    batch_size: Annotated[int, typer.Option(min=1, max=10_000, help="Events in a request")] = 1_000,
    requests: Annotated[int, typer.Option(min=1, max=64, help="Requests at a time")] = 2,
    partial: Annotated[
        bool, typer.Option("--partial", help="Skip bad events instead of stopping")
    ] = False,
    key_file: Annotated[
        Path | None, typer.Option(help="File with a key of scope ingest, if one is needed")
    ] = None,
) -> None:
    """Send a file of events to a running service.

    Loading the same file again, after an interruption say, counts nothing twice.
    """
    from ingest.cli.event_files import SourceError, in_batches, read_events
    from ingest.cli.load import Loader, LoadError

    try:
        key = key_file.read_text().strip() if key_file is not None else None
        with _opened(file) as raw, Progress(console=Console(stderr=True)) as bar:
            size = None if file == "-" else Path(file).stat().st_size
            task = bar.add_task("loading", total=size)
            tracked = bar.wrap_file(raw, task_id=task) if size else raw
            loaded = Loader(url, requests=requests, partial=partial, key=key).load(
                in_batches(read_events(tracked), batch_size),
                lambda loaded: bar.update(task, description=f"{loaded.accepted:,} events"),
            )
    except (OSError, LoadError, SourceError) as error:
        fail(error)
    print(
        f"{loaded.accepted:,} events accepted, {loaded.duplicates:,} of them known before;"
        f" {loaded.rejected:,} rejected"
    )


@app.command()
def generate(
    count: Annotated[int, typer.Argument(min=0, help="How many events")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same events")] = 1,
    start: Annotated[datetime, typer.Option(help="First day, UTC")] = datetime(2024, 1, 1),
    days: Annotated[int, typer.Option(min=1, help="Days that the events spread over")] = 31,
    ids: Annotated[bool, typer.Option(help="Whether the events have ids of their own")] = True,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file [stdout]")] = None,
) -> None:
    """Write realistic GA4-like events as NDJSON, to be piped into `event-stream load -`."""
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


@app.command()
def doctor(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    clickhouse_url: UrlOption = None,
) -> None:
    """Compare the logs, the dead letters and the table, and say what is off; exit code 1 if so.

    With embedded storage stop the service first: it has the engine.
    """
    from ingest.cli.doctor import examine
    from ingest.server.preflight import StartError, locked
    from ingest.wiring.pipeline import open_client
    from storage.dead_letters import DeadLetters
    from storage.errors import StorageError
    from storage.tables.cluster import ClusterLayout

    try:
        settings = load_settings(config, data_dir=data_dir, clickhouse_url=clickhouse_url)
        letters = DeadLetters(settings.data_dir, bytes_max=settings.dead_letters.bytes)
        embedded = settings.clickhouse_url is None
        with locked(settings.data_dir) if embedded else nullcontext():
            client = open_client(settings, timeout_s=READ_ALL_TIMEOUT_S)
            layout = ClusterLayout(settings.clickhouse_cluster)
            report = examine(settings.data_dir, letters, client, layout)
    except (SettingsError, StartError, StorageError) as error:
        fail(error)
    for line in report.facts:
        print(line)
    for line in report.faults:
        print(f"FAULT: {line}")
    print("something is off" if report.faults else "all is well")
    raise typer.Exit(1 if report.faults else 0)


def _opened(file: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb")


def main() -> None:
    app()
