"""`event-stream load`: send a file of events to a running service."""

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer
from rich.console import Console
from rich.progress import Progress

from ingest.cli.options import fail

if TYPE_CHECKING:
    from ingest.cli.loader import Loaded, Loader

INTERRUPTED = 130
"""Exit code after Ctrl-C, as of other programs."""


def load(
    file: Annotated[
        str,
        typer.Argument(
            help="NDJSON, JSON or an Arrow stream, plain, gzip or zstd; a Parquet file;"
            " an Arrow file (Feather); - for stdin"
        ),
    ],
    url: Annotated[str, typer.Option(help="URL of the service")] = "http://127.0.0.1:8080",
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10_000,
            help="Events per request (default: 1,000 of JSON, 10,000 of Parquet and Arrow)",
        ),
    ] = None,
    skip: Annotated[
        int, typer.Option(min=0, help="Events to leave out, as an interrupted load printed it")
    ] = 0,
    requests: Annotated[int, typer.Option(min=1, max=64, help="Requests sent at a time")] = 2,
    partial: Annotated[
        bool, typer.Option("--partial", help="Skip invalid events instead of stopping")
    ] = False,
    key_file: Annotated[
        Path | None,
        typer.Option(help="File with an API key of scope ingest, if the service needs one"),
    ] = None,
) -> None:
    """Send a file of events to a running service.

    It is safe to load a file again, for example after an interruption: no event is counted twice.
    Keep the same --batch-size if the events have no ids.
    """
    from ingest.cli.event_files import SourceError
    from ingest.cli.loader import Loaded, Loader, LoadError

    loaded = Loaded(complete=skip)
    try:
        key = key_file.read_text().strip() if key_file is not None else None
        loader = Loader(url, loaded, requests=requests, partial=partial, key=key)
        with _opened(file) as raw:
            _load(loader, raw, None if file == "-" else file, batch_size, skip)
    except (OSError, LoadError, SourceError) as error:
        fail(f"{error}{_how_to_go_on(loaded, skip, batch_size)}")
    except KeyboardInterrupt:
        how = _how_to_go_on(loaded, skip, batch_size)
        typer.echo(f"event-stream: Interrupted.{how}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    print(
        f"{loaded.accepted:,} events accepted, {loaded.duplicates:,} of them duplicates;"
        f" {loaded.rejected:,} rejected"
    )


def _load(
    loader: "Loader", raw: BinaryIO, path: str | None, batch_size: int | None, skip: int
) -> None:
    """Load with a progress bar: of rows if their number is known, or else of bytes."""
    from ingest.cli.event_files import open_source

    with Progress(console=Console(stderr=True)) as bar:
        size = Path(path).stat().st_size if path is not None else None
        task = bar.add_task("loading", total=size)
        tracked = bar.wrap_file(raw, task_id=task) if size else raw
        source = open_source(tracked, path, batch_size=batch_size, skip=skip)
        if source.total is not None:
            bar.update(task, total=source.total, completed=skip)

        def show(loaded: "Loaded") -> None:
            done = None if source.total is None else loaded.complete
            bar.update(task, description=f"{loaded.accepted:,} events", completed=done)

        loader.load(source.bodies, show)


def _how_to_go_on(loaded: "Loaded", skip: int, batch_size: int | None) -> str:
    if loaded.complete == skip:
        return ""
    same = "" if batch_size is None else f" --batch-size {batch_size}"
    return (
        f"\nThe first {loaded.complete:,} events of the file are acknowledged."
        f" Go on after them with --skip {loaded.complete}{same}"
    )


def _opened(file: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb")
