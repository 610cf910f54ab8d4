"""`event-stream load`: send a file of events to a running service."""

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console
from rich.progress import Progress

from ingest.cli.options import fail


def load(
    file: Annotated[str, typer.Argument(help="NDJSON or JSON; plain, gzip or zstd; - for stdin")],
    url: Annotated[str, typer.Option(help="URL of the service")] = "http://127.0.0.1:8080",
    batch_size: Annotated[int, typer.Option(min=1, max=10_000, help="Events per request")] = 1_000,
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
    from ingest.cli.event_files import SourceError, in_batches, read_events
    from ingest.cli.loader import Loader, LoadError

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
        f"{loaded.accepted:,} events accepted, {loaded.duplicates:,} of them duplicates;"
        f" {loaded.rejected:,} rejected"
    )


def _opened(file: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb")
