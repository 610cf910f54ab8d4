"""`event-stream keys`: create, list, rotate and revoke API keys without a restart."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ingest.auth.keys import (
    SCOPES,
    Key,
    KeyFile,
    KeysError,
    NoSuchKeyError,
    Scope,
    new_key,
)
from ingest.auth.rate_limits import parse_rates
from ingest.cli.options import ConfigOption, DataDirOption, command_settings, fail

app = typer.Typer(help="Create, list, rotate and revoke API keys.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(help="Id of the key, as `keys list` shows it")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Name of the key, shown by `keys list`")],
    scope: Annotated[
        list[str], typer.Option(help=f"What the key allows: {', '.join(SCOPES)}. Repeatable")
    ],
    origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Web origin that may use the key, such as https://shop.example.com. Repeatable"
        ),
    ] = None,
    requests_rate: Annotated[
        str, typer.Option(help="Own limit on requests, such as 100/second;1000/minute")
    ] = "",
    events_rate: Annotated[str, typer.Option(help="Own limit on events, such as 5000/second")] = "",
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Create a key and print it. It can't be shown again, because only its hash is kept."""
    scopes = [_scope(text) for text in scope]
    origins = origin or []
    for text in origins:
        if not text.startswith(("https://", "http://")) or text.count("/") != 2:
            fail(f"Origin {text!r} is not valid. It must have a scheme, a host and no path")
    if origins and scopes != ["ingest"]:
        fail("Everyone can read a key for browsers, so it may have only the scope ingest")
    for text in (requests_rate, events_rate):
        try:
            parse_rates(text)
        except ValueError:
            fail(f"Rate {text!r} is not valid. Write 100/second or 100/second;1000/minute")
    text, key = new_key(
        name, scopes, origins=origins, requests_rate=requests_rate, events_rate=events_rate
    )
    try:
        _file(config, data_dir).add(key)
    except KeysError as error:
        fail(error)
    print(text)
    print("Keep this key. It can't be shown again.", file=sys.stderr)


@app.command("list")
def list_keys(config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """List all keys, revoked ones included."""
    table = Table("id", "name", "scopes", "origins", "created", "state")
    try:
        keys = _file(config, data_dir).read()
    except KeysError as error:
        fail(error)
    for key in keys:
        state = "valid" if key.revoked_s is None else f"revoked {_day(key.revoked_s)}"
        created = _day(key.created_s)
        cells = [key.id, key.name, " ".join(key.scopes), " ".join(key.origins), created, state]
        table.add_row(*map(escape, cells))
    Console(soft_wrap=True).print(table)


@app.command()
def rotate(key_id: IdArgument, config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Create a key with the same rights and print it. The old key stays valid until revoked."""
    file = _file(config, data_dir)
    try:
        old = next((key for key in file.read() if key.id == key_id and key.is_active), None)
        if old is None:
            raise NoSuchKeyError(key_id)
        text, key = new_key(
            old.name,
            old.scopes,
            origins=old.origins,
            requests_rate=old.requests_rate,
            events_rate=old.events_rate,
        )
        file.add(key)
    except KeysError as error:
        fail(error)
    print(text)
    print(
        "Give the new key to all users of the old key. Then revoke the old key:"
        f" event-stream keys revoke {key_id}",
        file=sys.stderr,
    )


@app.command()
def revoke(key_id: IdArgument, config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Revoke a key. A running service refuses it within a second."""
    try:
        key: Key = _file(config, data_dir).revoke(key_id)
    except KeysError as error:
        fail(error)
    print(f"{key.id} ({key.name}) is revoked")


def _file(config: Path | None, data_dir: Path | None) -> KeyFile:
    return KeyFile(command_settings(config, data_dir).keys_file)


def _scope(text: str) -> Scope:
    found = [scope for scope in SCOPES if scope == text]
    if not found:
        fail(f"There is no scope {text!r}. A scope is one of {', '.join(SCOPES)}")
    return found[0]


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
