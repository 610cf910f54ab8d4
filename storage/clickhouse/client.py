"""Connect to ClickHouse. `chdb:///path` is the embedded engine, `http(s)://…` is a server.

The driver clickhouse-connect supports both. This module sets its options, and converts its
exceptions to StorageError.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import clickhouse_connect
import urllib3
from clickhouse_connect.driver.client import Client as Client  # storage.tables imports it from here
from clickhouse_connect.driver.exceptions import ClickHouseError

from storage.clickhouse.server_url import ServerUrl, parse_server_url
from storage.clickhouse.versions import check_version
from storage.errors import PAUSING_CODES, PausedError, StorageError, UnavailableError, classify

EMBEDDED_SCHEME = "chdb://"
CONNECT_TIMEOUT_S = 5
MESSAGE_CHARACTERS_MAX = 500

# The driver must send settings that the user may not change: the error of the server has a code.
clickhouse_connect.common.set_setting("invalid_setting_action", "send")


def embedded_dsn(data_dir: Path) -> str:
    """Return the DSN of the embedded engine whose data is in `data_dir`."""
    return f"{EMBEDDED_SCHEME}/{data_dir.resolve() / 'clickhouse'}"


def is_embedded(dsn: str) -> bool:
    """Return whether `dsn` is that of the embedded engine."""
    return dsn.startswith(EMBEDDED_SCHEME)


def prepare_embedded(data_dir: Path) -> None:
    """Create the temporary directory of the embedded engine, and empty it.

    Where there is no memfd, the engine inserts through temporary files. They must be on the disk
    that has room for the data. A killed process leaves some of them.
    """
    temporary = data_dir.resolve() / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    for left in temporary.iterdir():
        if left.is_file():
            left.unlink(missing_ok=True)
    tempfile.tempdir = os.fspath(temporary)


def connect(dsn: str, *, timeout_s: int = 30, settings: Mapping[str, Any] | None = None) -> Client:
    """Create a client and connect it.

    Args:
        dsn: the embedded engine or the URL of a server.
        timeout_s: how long to wait for a response of a server, in seconds.
        settings: ClickHouse settings that a server applies to every statement of the client.

    Returns:
        The client. The caller closes it.

    Raises:
        PausedError: an operator must correct the password, database, rights or server version.
        UnavailableError: ClickHouse can't be reached or can't be used now.
        ValueError: the URL is not valid.
    """
    if is_embedded(dsn):
        return _connect_embedded(dsn)
    server = parse_server_url(dsn)
    try:
        client = clickhouse_connect.get_client(
            # Without it the driver decides by the port whether to use TLS.
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
            # A session would refuse concurrent queries.
            autogenerate_session_id=False,
            send_receive_timeout=timeout_s,
            connect_timeout=CONNECT_TIMEOUT_S,
            query_retries=0,
            # With the shared pool, closing the client would not close its connections.
            dedicated_pool=True,
            show_clickhouse_errors="scrub",
        )
    except Exception as error:  # the driver raises its own errors, those of urllib3, and others
        raise _not_connected(server, error) from error
    try:
        check_version(str(client.server_version), server.address)
    except PausedError:
        client.close()
        raise
    if server.is_loopback:
        # PERF: to compress an insert takes longer than to send it to the same machine.
        client.write_compression = None
    return client


def _connect_embedded(dsn: str) -> Client:
    try:
        return clickhouse_connect.get_client(dsn=dsn)
    except Exception as error:
        path = dsn.removeprefix(EMBEDDED_SCHEME)
        raise UnavailableError(
            f"The data directory {path.lstrip('/') and '/' + path.lstrip('/')} can't be opened:"
            " stop other processes that use it, let this process write there, or set data_dir to"
            " another directory."
        ) from error


def _not_connected(server: ServerUrl, error: Exception) -> StorageError:
    code, message = getattr(error, "code", None), _message(error)
    if code in PAUSING_CODES:
        return PausedError(
            f"ClickHouse at {server.address}: {message}: {PAUSING_CODES[code].advice}", code
        )
    if code is not None:
        return UnavailableError(f"ClickHouse at {server.address} answers: {message}", code)
    return UnavailableError(
        f"ClickHouse at {server.address} can't be reached ({message}): start it,"
        " correct clickhouse_url, or remove clickhouse_url to use the embedded engine.",
        code,
    )


@contextmanager
def storage_errors() -> Iterator[None]:
    """Convert the exceptions of the driver in the block to StorageError.

    Raises:
        StorageError: the driver raised an exception, or the block raised this StorageError.
    """
    try:
        yield
    except StorageError:
        raise
    except ClickHouseError as error:
        raise classify(_message(error), getattr(error, "code", None)) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise classify(f"{type(error).__name__}: {_message(error)}", None) from error


def _message(error: Exception) -> str:
    """Return the error in one line, without the URL and the settings that the driver adds."""
    cause = error.__cause__ if isinstance(error, ClickHouseError) else error
    if isinstance(cause, urllib3.exceptions.MaxRetryError) and cause.reason is not None:
        cause = cause.reason
    text = str(cause if isinstance(cause, urllib3.exceptions.HTTPError) else error)
    _, found, after = text.partition("DB::Exception: ")
    return " ".join((after if found else text).split())[:MESSAGE_CHARACTERS_MAX]
