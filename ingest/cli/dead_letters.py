"""`event-stream dead-letters`: list, show, replay or discard the rows that storage refused."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from ingest.cli.options import ConfigOption, DataDirOption, UrlOption, command_settings, fail
from ingest.config.settings import Settings
from storage.errors import StorageError

if TYPE_CHECKING:
    from storage.dead_letters import DeadLetter

REASON_CHARACTERS = 80

app = typer.Typer(
    help="List, show, replay or discard the rows that ClickHouse refused.",
    no_args_is_help=True,
)

Names = Annotated[
    list[str] | None, typer.Argument(help="Names, as `list` shows them (default: all)")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done; change nothing")]


@app.command("list")
def list_(config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """List the dead letters, one per line. `show` prints the whole reason."""
    print(f"{'name':<30} {'refused at':<19} {'rows':>7} {'bytes':>9} code reason")
    for letter in _letters(command_settings(config, data_dir), None):
        code = "" if letter.code is None else str(letter.code)
        reason = letter.reason[:REASON_CHARACTERS]
        print(
            f"{letter.name} {letter.at:%Y-%m-%d %H:%M:%S} {letter.rows:>7} {letter.bytes:>9}"
            f" {code:>4} {reason}{'…' if reason != letter.reason else ''}"
        )


@app.command()
def show(names: Names = None, config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Print the rows as JSON, one object per line, and the reasons on standard error."""
    for letter in _letters(command_settings(config, data_dir), names):
        typer.echo(f"{letter.name}: {letter.reason}", err=True)
        for row in letter.read().to_pylist():
            present = {name: value for name, value in row.items() if value not in (None, "", [])}
            print(json.dumps(present, default=str, ensure_ascii=False))


@app.command()
def replay(
    names: Names = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    clickhouse_url: UrlOption = None,
    dry_run: DryRun = False,
) -> None:
    """Insert the rows again after you fixed the cause. A dead letter is removed once it is stored.

    No event is counted twice. With embedded storage stop the service first: only one process can
    use the engine.
    """
    from ingest.server.preflight import StartError, locked
    from ingest.wiring.storage import open_writer

    settings = command_settings(config, data_dir, clickhouse_url)
    letters = list(_letters(settings, names))
    if dry_run:
        print(f"would insert {sum(letter.rows for letter in letters)} rows")
        return
    embedded = settings.is_embedded
    try:
        with locked(settings.data_dir) if embedded else nullcontext():
            writer = open_writer(settings)
            for letter in letters:
                writer.write(letter.read(), token=f"dead-letter-{letter.name}")
                letter.path.unlink()
                print(f"{letter.name}: {letter.rows} rows stored")
            writer.close()
    except (StartError, StorageError) as error:
        fail(error)


@app.command()
def discard(
    names: Names = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    dry_run: DryRun = False,
) -> None:
    """Delete dead letters and their rows. This can't be undone."""
    for letter in _letters(command_settings(config, data_dir), names):
        if not dry_run:
            letter.path.unlink()
        print(f"{letter.name}: {letter.rows} rows {'would be ' if dry_run else ''}discarded")


def _letters(settings: Settings, names: list[str] | None) -> Iterator["DeadLetter"]:
    # Imported late because the parent of the workers loads this module but must not load Arrow.
    from storage.dead_letters import DeadLetters

    found = {
        letter.name: letter
        for letter in DeadLetters(settings.data_dir, bytes_max=settings.dead_letters.bytes)
    }
    for name in names or found:
        if name not in found:
            fail(f"There is no dead letter {name}. List them: event-stream dead-letters list")
        yield found[name]
