"""Step 1 of `create_app`: storage. The commands get their connections from here, too."""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from ingest.config.settings import Settings
from ingest.event.arrow import TABLE_SCHEMA
from storage.clickhouse.client import Client, connect, embedded_dsn, prepare_embedded
from storage.clickhouse.interruption import READ_ONLY
from storage.clickhouse.reader import TIMEOUT_MARGIN_S, QueryLimits, Reader
from storage.clickhouse.versions import is_untested
from storage.clickhouse.writer import Writer
from storage.dead_letters import DeadLetters
from storage.tables.cluster import ClusterLayout
from storage.tables.migrations import migrate, pending
from storage.tables.schema import EVENTS_TABLE

MIGRATION_LOCK = "migration.lock"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Storage:
    """The connections of a worker to storage.

    Attributes:
        writer: inserts into the events table.
        reader: queries the tables.
        dead_letters: keeps rows that ClickHouse refused for good.
        layout: where the tables are.
    """

    writer: Writer
    reader: Reader
    dead_letters: DeadLetters
    layout: ClusterLayout


def build_storage(settings: Settings) -> Storage:
    """Build the connections to storage. The writer and the reader connect when they are used.

    Raises:
        OSError: the directory of the embedded engine can't be created.
    """
    query = settings.query
    return Storage(
        writer=open_writer(settings),
        reader=Reader(
            lambda: open_reading_client(settings),
            clients=query.concurrency,
            limits=QueryLimits(
                query.seconds, query.memory_bytes, query.read_rows, query.result_rows
            ),
            waiting_max=query.waiting,
        ),
        dead_letters=DeadLetters(settings.data_dir, bytes_max=settings.dead_letters.bytes),
        layout=ClusterLayout(settings.clickhouse_cluster),
    )


def storage_dsn(settings: Settings) -> str:
    """Return the DSN of the ClickHouse that `settings` choose: embedded or a server."""
    return settings.clickhouse_url or embedded_dsn(settings.data_dir)


def open_writer(settings: Settings) -> Writer:
    """Return a writer to the events table. It connects and migrates the tables when it is opened.

    Raises:
        OSError: the directory of the embedded engine can't be created.
    """
    if settings.is_embedded:
        prepare_embedded(settings.data_dir)

    def open_storage() -> Client:
        client = open_client(settings)
        try:
            with migration_lock(settings.data_dir):
                _bring_up_to_date(client, ClusterLayout(settings.clickhouse_cluster))
        except BaseException:
            client.close()
            raise
        return client

    return Writer(open_storage, EVENTS_TABLE)


@contextmanager
def migration_lock(data_dir: Path) -> Iterator[None]:
    """Hold the migration lock of a service, so that only one worker at a time migrates.

    The next worker then finds nothing to do.
    """
    with (data_dir / MIGRATION_LOCK).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _bring_up_to_date(client: Client, layout: ClusterLayout) -> None:
    if is_untested(str(client.server_version)):
        log.warning("this ClickHouse is newer than those tested", version=client.server_version)
    done = migrate(client, TABLE_SCHEMA, layout=layout)
    if done:
        log.info("the tables were migrated", changes=done)
    left = pending(client, TABLE_SCHEMA, layout=layout)
    if left:
        names = [change.name for change in left]
        log.warning("run event-stream migrate to apply these changes", changes=names)


def open_client(settings: Settings, *, timeout_s: int | None = None) -> Client:
    """Connect to the storage that `settings` choose.

    Args:
        settings: settings of the service.
        timeout_s: timeout of requests, in seconds, if not the one in `settings`.

    Raises:
        PausedError: an operator must act.
        UnavailableError: storage does not answer.
    """
    timeout_s = timeout_s or settings.clickhouse_timeout_seconds
    return _connect(settings, timeout_s=timeout_s, own={})


def open_reading_client(settings: Settings) -> Client:
    """Connect to storage for reading. Queries of this client can be stopped.

    Raises:
        PausedError: an operator must act.
        UnavailableError: storage does not answer.
    """
    return _connect(settings, timeout_s=settings.query.seconds + TIMEOUT_MARGIN_S, own=READ_ONLY)


def _connect(settings: Settings, *, timeout_s: int, own: Mapping[str, int]) -> Client:
    layout = ClusterLayout(settings.clickhouse_cluster)
    return connect(storage_dsn(settings), timeout_s=timeout_s, settings={**layout.settings, **own})
