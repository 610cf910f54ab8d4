"""A DSN becomes a client: `chdb:///path` is the embedded engine, `http(s)://…` a server.

clickhouse-connect speaks to both; this module gives it the settings we rely on and turns its
exceptions into ours.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import clickhouse_connect
import urllib3
from clickhouse_connect.driver.client import Client as Client  # lent to storage.tables
from clickhouse_connect.driver.exceptions import ClickHouseError

from storage.clickhouse.server_url import ServerUrl, parse_server_url
from storage.clickhouse.versions import check_version
from storage.errors import PAUSING_CODES, PausedError, StorageError, UnavailableError, classify

EMBEDDED_SCHEME = "chdb://"
CONNECT_TIMEOUT_S = 5
MESSAGE_CHARACTERS_MAX = 500

# A setting that the user may not change is for the server to refuse: its error has a code.
clickhouse_connect.common.set_setting("invalid_setting_action", "send")


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


def connect(dsn: str, *, timeout_s: int = 30, settings: Mapping[str, Any] | None = None) -> Client:
    """A client, connected.

    Args:
        timeout_s: for a server to answer.
        settings: of ClickHouse, for everything that the client sends to a server.

    Raises:
        PausedError: an operator must act: password, database, rights, version of the server.
        UnavailableError: there is no answer. Both say what to do.
    """
    if is_embedded(dsn):
        return _connect_embedded(dsn)
    server = parse_server_url(dsn)
    try:
        client = clickhouse_connect.get_client(
            # Never left to the driver: it would choose TLS by the port.
            interface=server.scheme,
            host=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            database=server.database,
            ca_cert=server.ca_cert,
            client_cert=server.client_cert,
            client_cert_key=server.client_cert_key,
            verify=server.verify,
            settings=dict(settings or {}),
            # A session would refuse a second query at the same time.
            autogenerate_session_id=False,
            send_receive_timeout=timeout_s,
            connect_timeout=CONNECT_TIMEOUT_S,
            query_retries=0,
            # Its own, so that closing it ends its connections and no others.
            dedicated_pool=True,
            show_clickhouse_errors="scrub",
        )
    except Exception as error:  # the driver raises its own, urllib3's and plain errors here
        raise _not_connected(server, error) from error
    try:
        check_version(str(client.server_version), server.address)
    except PausedError:
        client.close()
        raise
    return client


def _connect_embedded(dsn: str) -> Client:
    try:
        return clickhouse_connect.get_client(dsn=dsn)
    except Exception as error:
        path = dsn.removeprefix(EMBEDDED_SCHEME)
        raise UnavailableError(
            f"The data directory {path.lstrip('/') and '/' + path.lstrip('/')} can't be opened:"
            " is another process using it, and may this one write there?"
            " Stop that process or set data_dir to another directory."
        ) from error


def _not_connected(server: ServerUrl, error: Exception) -> StorageError:
    code, said = getattr(error, "code", None), _message(error)
    if code in PAUSING_CODES:
        return PausedError(
            f"ClickHouse at {server.address}: {said}: {PAUSING_CODES[code].advice}", code
        )
    if code is not None:
        return UnavailableError(f"ClickHouse at {server.address} answers: {said}", code)
    return UnavailableError(
        f"ClickHouse at {server.address} can't be reached ({said}): start it, or"
        " correct clickhouse_url, or leave that out to use the embedded engine.",
        code,
    )


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn what the driver raises into a StorageError; our own pass as they are."""
    try:
        yield
    except StorageError:
        raise
    except ClickHouseError as error:
        raise classify(_message(error), getattr(error, "code", None)) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise classify(f"{type(error).__name__}: {_message(error)}", None) from error


def _message(error: Exception) -> str:
    """What happened, in one line: without the URL and the settings that the driver adds to it."""
    cause = error.__cause__ if isinstance(error, ClickHouseError) else error
    if isinstance(cause, urllib3.exceptions.MaxRetryError) and cause.reason is not None:
        cause = cause.reason
    text = str(cause if isinstance(cause, urllib3.exceptions.HTTPError) else error)
    _, found, after = text.partition("DB::Exception: ")
    return " ".join((after if found else text).split())[:MESSAGE_CHARACTERS_MAX]
