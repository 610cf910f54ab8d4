"""The storage of a measurement: the embedded engine, or a ClickHouse server."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bench.harness.clickhouse import running_clickhouse
from bench.harness.processes import Processes


class StorageKind(StrEnum):
    """Where events are stored."""

    EMBEDDED = "embedded"
    """In the process that is measured."""
    SERVER = "server"
    """On a ClickHouse server that is started for the measurement."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A place for the events of one measurement.

    Attributes:
        url: URL of an empty database of a ClickHouse server; None for the embedded engine.
        server: the server, if it was started for the measurement.
    """

    url: str | None = None
    server: Processes | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """The options of a service, or of a baseline, that stores its events here."""
        return ("--clickhouse-url", self.url) if self.url else ()


@contextmanager
def running_storage(
    kind: StorageKind, directory: Path, url: str | None = None
) -> Iterator[Storage]:
    """Provide an empty storage for the block.

    Args:
        kind: which storage.
        directory: data directory of the server, if one is started.
        url: empty database of a server that runs already; it is used instead of `kind`.
    """
    if url or kind is StorageKind.EMBEDDED:
        yield Storage(url)
        return
    with running_clickhouse(directory) as server:
        yield Storage(server.create_database(), server.processes)
