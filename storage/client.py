"""A DSN becomes a client: `chdb:///path` is the embedded engine, `http(s)://…` a server.

clickhouse-connect speaks to both; this module gives it the settings we rely on and turns its
exceptions into ours.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import clickhouse_connect
import urllib3
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from storage.errors import StorageError, UnavailableError, classify

EMBEDDED_SCHEME = "chdb://"


def embedded_dsn(data_dir: Path) -> str:
    """The DSN of the engine embedded under `data_dir`."""
    return f"{EMBEDDED_SCHEME}/{data_dir.resolve() / 'clickhouse'}"


def is_embedded(dsn: str) -> bool:
    return dsn.startswith(EMBEDDED_SCHEME)


def prepare_embedded(data_dir: Path) -> None:
    """Give the embedded engine its directories, and clear what a killed process left in them.

    It inserts through temporary files, which must lie on the disk that has room for the data.
    """
    temporary = data_dir.resolve() / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    for left in temporary.iterdir():
        if left.is_file():
            left.unlink(missing_ok=True)
    tempfile.tempdir = os.fspath(temporary)


def connect(dsn: str, *, timeout_s: int = 30) -> Client:
    """A client, connected. Raises UnavailableError saying what to do when that fails.

    timeout_s: for a server to answer.
    """
    options: dict[str, Any] = {}
    if not is_embedded(dsn):
        options = {
            # A session would refuse a second query at the same time.
            "autogenerate_session_id": False,
            "send_receive_timeout": timeout_s,
            "connect_timeout": 5,
            "query_retries": 0,
        }
    try:
        return clickhouse_connect.get_client(dsn=dsn, **options)
    except Exception as error:  # the driver raises its own, urllib3's and plain errors here
        code = getattr(error, "code", None)
        raise UnavailableError(_advice(dsn, code), code) from error


def _advice(dsn: str, code: int | None) -> str:
    if is_embedded(dsn):
        path = dsn.removeprefix(EMBEDDED_SCHEME)
        return (
            f"The data directory {path.lstrip('/') and '/' + path.lstrip('/')} can't be opened:"
            " is another process using it, and may this one write there?"
            " Stop that process or set data_dir to another directory."
        )
    server = urllib3.util.parse_url(dsn)
    where = f"{server.scheme}://{server.host}:{server.port or 8123}"
    if code in (193, 194, 516):
        return f"ClickHouse at {where} refuses the user or password of clickhouse_url."
    if code == 81:
        return f"ClickHouse at {where} has no such database: create it or change clickhouse_url."
    return (
        f"ClickHouse at {where} can't be reached: start it, or correct clickhouse_url,"
        " or leave that out to use the embedded engine."
    )


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn what the driver raises into a StorageError; our own pass as they are."""
    try:
        yield
    except StorageError:
        raise
    except ClickHouseError as error:
        raise classify(str(error), getattr(error, "code", None)) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise classify(f"{type(error).__name__}: {error}", None) from error
