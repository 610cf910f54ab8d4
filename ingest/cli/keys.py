"""`event-stream keys`: make, list, rotate and revoke API keys, without a restart."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ingest.auth.keys import SCOPES, Key, KeyFile, KeysError, Scope, new_key
from ingest.auth.rate_limits import parse_rates
from ingest.cli.options import ConfigOption, DataDirOption, fail
from ingest.config.settings import SettingsError, load_settings

app = typer.Typer(help="API keys.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(help="As `keys list` shows it")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is, to find it again")],
    scope: Annotated[list[str], typer.Option(help=f"What it is for: {', '.join(SCOPES)}")],
    origin: Annotated[
        list[str] | None,
        typer.Option(help="Of a browser that may use it, such as https://shop.example.com"),
    ] = None,
    requests_rate: Annotated[str, typer.Option(help="Such as 100/second;1000/minute")] = "",
    events_rate: Annotated[str, typer.Option(help="Such as 5000/second")] = "",
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Make a key and print it, once: it is kept as a hash alone."""
    scopes = [_scope(text) for text in scope]
    origins = origin or []
    for text in origins:
        if not text.startswith(("https://", "http://")) or text.count("/") != 2:
            fail(f"An origin has a scheme, a host and no path, unlike {text!r}")
    if origins and scopes != ["ingest"]:
        fail("A key for browsers can be read by everyone: it may have the scope ingest alone")
    for text in (requests_rate, events_rate):
        try:
            parse_rates(text)
        except ValueError:
            fail(f"A rate is like 100/second or 100/second;1000/minute, unlike {text!r}")
    text, key = new_key(
        name, scopes, origins=origins, requests_rate=requests_rate, events_rate=events_rate
    )
    try:
        _file(config, data_dir).add(key)
    except KeysError as error:
        fail(error)
    print(text)
    print("Keep it: it can't be shown again.", file=sys.stderr)


@app.command("list")
def list_keys(config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Show all keys, the revoked ones too."""
    table = Table("id", "name", "scopes", "origins", "made", "state")
    try:
        keys = _file(config, data_dir).read()
    except KeysError as error:
        fail(error)
    for key in keys:
        state = "valid" if key.revoked_s is None else f"revoked {_day(key.revoked_s)}"
        made = _day(key.created_s)
        table.add_row(key.id, key.name, " ".join(key.scopes), " ".join(key.origins), made, state)
    Console(soft_wrap=True).print(table)


@app.command()
def rotate(key_id: IdArgument, config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Make a key that may do the same, and print it; the old one stays valid until revoked."""
    file = _file(config, data_dir)
    try:
        old = next((key for key in file.read() if key.id == key_id and key.is_active), None)
        if old is None:
            fail(f"There is no key {key_id} that is valid: event-stream keys list shows all")
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
    print(f"When nobody uses the old one: event-stream keys revoke {key_id}", file=sys.stderr)


@app.command()
def revoke(key_id: IdArgument, config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Make a key invalid, within a second in a running service."""
    try:
        key: Key = _file(config, data_dir).revoke(key_id)
    except KeysError as error:
        fail(error)
    print(f"{key.id} ({key.name}) is valid no more")


def _file(config: Path | None, data_dir: Path | None) -> KeyFile:
    try:
        return KeyFile(load_settings(config, data_dir=data_dir).keys_file)
    except SettingsError as error:
        fail(error)


def _scope(text: str) -> Scope:
    found = [scope for scope in SCOPES if scope == text]
    if not found:
        fail(f"A scope is one of {', '.join(SCOPES)}, unlike {text!r}")
    return found[0]


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
