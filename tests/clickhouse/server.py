"""A ClickHouse server that a test can start, stop, kill and pause, with many users.

Its users are in `tests.clickhouse.users`. `bench.harness.clickhouse` has the server.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.harness.clickhouse import ClickHouse, ServerError, lasting_port
from bench.harness.clickhouse import running_clickhouse as running_server
from bench.harness.service import HOST
from tests.clickhouse.users import DEFAULT_USERS

__all__ = ["HOST", "ClickHouse", "ServerError", "lasting_port", "running_clickhouse", "with_port"]


def running_clickhouse(data_dir: Path, **options: Any) -> AbstractContextManager[ClickHouse]:
    """Start a server with the users of the tests, and stop it at the end of the block.

    Args:
        data_dir: data directory of the server.
        **options: see `ClickHouse`.
    """
    return running_server(data_dir, **{"users_xml": DEFAULT_USERS, **options})


def with_port(url: str, port: int) -> str:
    """Replace the port in the URL of a server, for example by that of a proxy."""
    parts = urlsplit(url)
    login = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{login}@{HOST}:{port}").geturl()
