"""The ingest half of the composition root: from a valid batch to the table."""

import asyncio
import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
import uuid_utils
from prometheus_client import CollectorRegistry

from ingest.clock import Clock
from ingest.config.settings import Settings
from ingest.event.arrow import TABLE_SCHEMA
from ingest.ledger import Ledger
from ingest.monitoring.instruments import FlushInstruments
from ingest.pipeline.committer import Commit, Committer
from ingest.pipeline.dedup import DedupWindow
from ingest.pipeline.flusher import Flusher
from ingest.pipeline.ingestor import Ingestor
from ingest.pipeline.retrying_writer import RetryingWriter
from ingest.pipeline.ring_buffer import RingBuffer
from ingest.pipeline.wal_writer import WalWriter
from ingest.process import give_way
from ingest.worker.recovery import Adopter, claim_wal, replay
from storage.clickhouse.client import Client, connect, embedded_dsn, prepare_embedded
from storage.clickhouse.interruption import READ_ONLY
from storage.clickhouse.reader import TIMEOUT_MARGIN_S
from storage.clickhouse.versions import is_untested
from storage.clickhouse.writer import Writer
from storage.dead_letters import DeadLetters
from storage.tables.cluster import ClusterLayout
from storage.tables.migrations import migrate_and_tell
from storage.tables.schema import EVENTS_TABLE
from storage.wal.wal import Recovered, Wal

RETRY_AFTER_MAX_S = 60
MIGRATION_LOCK = "migration.lock"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pipeline:
    """From a valid batch to the table."""

    ingestor: Ingestor
    committer: Committer
    wal_writer: WalWriter
    ring: RingBuffer
    flusher: Flusher
    dedup: DedupWindow[Commit]
    wal: Wal | None
    dead_letters: DeadLetters
    adopter: Adopter | None


def open_writer(settings: Settings) -> Writer:
    """A writer to the table that `settings` name, which is made when it is first needed.

    Raises OSError when the embedded engine's directory can't be made.
    """
    if settings.clickhouse_url is None:
        prepare_embedded(settings.data_dir)

    def open_storage() -> Client:
        client = open_client(settings)
        try:
            with alone(settings.data_dir):
                _bring_up_to_date(client, ClusterLayout(settings.clickhouse_cluster))
        except BaseException:
            client.close()
            raise
        return client

    return Writer(open_storage, EVENTS_TABLE)


@contextmanager
def alone(data_dir: Path) -> Iterator[None]:
    """One worker of a service migrates, and the others find that it is done."""
    with (data_dir / MIGRATION_LOCK).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _bring_up_to_date(client: Client, layout: ClusterLayout) -> None:
    if is_untested(str(client.server_version)):
        log.warning("this ClickHouse is newer than those tested", version=client.server_version)
    done, left = migrate_and_tell(client, TABLE_SCHEMA, layout=layout)
    if left:
        log.warning("to be done with event-stream migrate", changes=left)
    if done:
        log.info("the tables were migrated", changes=done)


def open_client(settings: Settings, *, timeout_s: int | None = None) -> Client:
    """A client of the storage that `settings` name, which may also say how long it waits.

    Raises PausedError, UnavailableError.
    """
    timeout_s = timeout_s or settings.clickhouse_timeout_seconds
    return _connect(settings, timeout_s=timeout_s, own={})


def open_reading_client(settings: Settings) -> Client:
    """A client whose queries can be stopped. Raises PausedError, UnavailableError."""
    return _connect(settings, timeout_s=settings.query.seconds + TIMEOUT_MARGIN_S, own=READ_ONLY)


def _connect(settings: Settings, *, timeout_s: int, own: Mapping[str, int]) -> Client:
    dsn = settings.clickhouse_url or embedded_dsn(settings.data_dir)
    layout = ClusterLayout(settings.clickhouse_cluster)
    return connect(dsn, timeout_s=timeout_s, settings={**layout.settings, **own})


def build_pipeline(
    settings: Settings, *, registry: CollectorRegistry, ledger: Ledger, clock: Clock
) -> Pipeline:
    """Recovers what the log has, which may take seconds. Raises OSError."""
    wal_root = settings.data_dir / "wal"
    wal = claim_wal(wal_root, settings.wal) if settings.wal.enabled else None
    recovered = wal.recover() if wal is not None else Recovered()
    dedup = DedupWindow[Commit](keys_max=settings.dedup.ids)
    ring = RingBuffer(
        # An earlier process may have had more slots than this one is set to.
        slots_max=settings.buffer.slots + len(recovered.backlog),
        rows_max=settings.buffer.rows,
        bytes_max=settings.buffer.bytes,
        clock=clock.monotonic_s,
    )
    wal_writer = WalWriter(ring=ring, wal=wal, pending_bytes_max=settings.buffer.bytes)
    adopter = None
    if wal is not None:
        replay(wal, recovered, ring=ring, dedup=dedup, ledger=ledger)
        adopter = Adopter(
            wal_root,
            settings=settings.wal,
            own=wal,
            wal_writer=wal_writer,
            dedup=dedup,
            ledger=ledger,
        )
    instruments = FlushInstruments(registry)
    dead_letters = DeadLetters(settings.data_dir, bytes_max=settings.dead_letters.bytes)
    flusher = Flusher(
        ring=ring,
        writer=RetryingWriter(
            writer=open_writer(settings),
            dead_letters=dead_letters,
            failed=instruments.storage_failed,
        ),
        ledger=ledger,
        observer=instruments,
        wal=wal,
        stream_id=wal.stream_id if wal is not None else str(uuid_utils.uuid7()),
        rows=settings.flush.rows,
        bytes=settings.flush.bytes,
        age_s=settings.flush.seconds,
        # A server has its own cores, or it is for its operator to say.
        prepare_thread=give_way if settings.clickhouse_url is None else lambda: None,
        clock=clock.monotonic_s,
    )
    committer = Committer(
        wal_writer=wal_writer,
        dedup=dedup,
        ledger=ledger,
        rows_max=settings.buffer.commit_rows,
        retry_after_s=lambda: min(RETRY_AFTER_MAX_S, max(1, round(flusher.drain_s()))),
    )
    ingestor = Ingestor(
        committer=committer,
        ledger=ledger,
        clock=clock,
        stored=lambda: asyncio.wrap_future(flusher.stored()),
        stored_timeout_s=settings.ack.stored_seconds,
    )
    return Pipeline(
        ingestor, committer, wal_writer, ring, flusher, dedup, wal, dead_letters, adopter
    )
