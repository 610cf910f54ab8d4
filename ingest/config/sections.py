"""The sections of the settings, with default values, limits and descriptions.

docs/configuration.md repeats every description.
"""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from limits import parse_many
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
MIB = 1024 * 1024


class Section(BaseModel):
    """Base class of the sections: unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LogSettings(Section):
    """Settings under `log`."""

    level: Literal["debug", "info", "warn", "error"] = Field(
        "info", description="Lowest level that is logged: debug, info, warn or error"
    )
    format: Literal["json", "console"] = Field(
        "console", description="Format of log entries: json or console"
    )


class LimitSettings(Section):
    """Settings under `limits`."""

    body_bytes: Positive = Field(16 * MIB, description="Largest body of a request, as sent")
    held_bytes: Positive = Field(
        256 * MIB, description="Maximum bytes of bodies that a worker holds at the same time"
    )
    decompressed_bytes: Positive = Field(
        16 * MIB, description="Largest body of a request, after decompression"
    )
    events_per_request: Positive = Field(10_000, description="Maximum events in one request")
    body_seconds: Seconds = Field(10, description="How long a body may take to arrive")
    head_bytes: Positive = Field(65_536, description="Maximum bytes of all headers of a request")
    url_bytes: Positive = Field(8_192, description="Maximum bytes of a request's path and query")
    head_seconds: Annotated[float, Field(ge=1, le=3600)] = Field(
        10,
        description="How long a request's headers may take to arrive, and how long a connection"
        " may be idle",
    )
    connections: Positive = Field(
        1024, description="Maximum requests that a worker serves at the same time"
    )


class BufferSettings(Section):
    """Settings under `buffer`."""

    rows: Positive = Field(500_000, description="Maximum rows in the ring buffer")
    bytes: Positive = Field(256 * MIB, description="Maximum bytes in the ring buffer")
    slots: Positive = Field(65_536, description="Maximum record batches in the ring buffer")
    batch_requests: Positive = Field(
        512,
        description="Number of waiting requests at which they no longer wait for the commit"
        " before them",
    )

    @model_validator(mode="before")
    @classmethod
    def _accept_old_name(cls, values: Any) -> Any:
        """`batch_requests` was called `commit_rows` until version 0.1."""
        if isinstance(values, dict) and "commit_rows" in values:
            values = {"batch_requests": values["commit_rows"], **values}
            del values["commit_rows"]
        return values


class FlushSettings(Section):
    """Settings under `flush`."""

    rows: Positive = Field(100_000, description="Number of rows at which the buffer is flushed")
    bytes: Positive = Field(64 * MIB, description="Number of bytes at which the buffer is flushed")
    seconds: Seconds = Field(1, description="Age of the oldest row at which the buffer is flushed")


class WalSettings(Section):
    """Settings under `wal`."""

    enabled: bool = Field(True, description="Whether events are written to a write-ahead log (WAL)")
    bytes: Positive = Field(
        8192 * MIB,
        description="Maximum bytes of events in a worker's WAL that are not stored yet; further"
        " events are refused",
    )
    retain_seconds: Annotated[int, Field(ge=0)] = Field(
        600,
        description="How long the WAL keeps stored events, in case the table loses a part; they"
        " take at most half of wal.bytes",
    )
    segment_bytes: Positive = Field(64 * MIB, description="Size at which the WAL begins a new file")


class DeadLetterSettings(Section):
    """Settings under `dead_letters`."""

    bytes: Positive = Field(
        1024 * MIB,
        description="Maximum bytes of all dead letters; at this limit storage is paused until an"
        " operator replays or discards some",
    )


class AckSettings(Section):
    """Settings under `ack`."""

    level: Literal["buffered", "durable", "stored"] = Field(
        "durable",
        description="What a 201 promises if the request does not say: buffered, durable or stored",
    )
    stored_seconds: Seconds = Field(
        10, description="How long a request with ack=stored waits for storage"
    )


class DedupSettings(Section):
    """Settings under `dedup`."""

    ids: Positive = Field(
        1_000_000, description="Number of recent ids kept in memory to detect duplicates"
    )
    warm_seconds: Annotated[int, Field(ge=0)] = Field(
        600, description="How far back the ids of stored events are loaded at the start"
    )


class QuerySettings(Section):
    """Settings under `query`."""

    concurrency: Positive = Field(
        2, description="Number of queries that a worker runs at the same time"
    )
    waiting: Annotated[int, Field(ge=0)] = Field(
        100, description="Number of queries that may wait to run; more are refused with 429"
    )
    seconds: Positive = Field(30, description="How long a query may run before it is stopped")
    memory_bytes: Positive = Field(
        2048 * MIB, description="Maximum memory that a query may use in ClickHouse"
    )
    read_rows: Positive = Field(10_000_000_000, description="Maximum rows that a query may read")
    result_rows: Positive = Field(100_000, description="Maximum rows of a query result")
    flush_seconds: Seconds = Field(
        10, description="How long ?consistency=flushed waits for the flush"
    )


class CacheSettings(Section):
    """Settings under `cache`."""

    bytes: Positive = Field(
        64 * MIB, description="Maximum bytes of responses that a worker caches without Redis"
    )
    open_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        1,
        description="How long a response is cached if its time range reaches the present; 0: not"
        " cached",
    )
    closed_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        30,
        description="How long a response is cached if its time range is in the past; late events"
        " appear only after that time",
    )


class KeySettings(Section):
    """Settings under `keys`."""

    file: Path | None = Field(
        None, description="File with the hashes of the API keys; left out: data_dir/keys.json"
    )


class RateSettings(Section):
    """Settings under `rate_limits`."""

    requests: str = Field(
        "",
        description="Requests that a key or an address may send, such as 100/second; empty: no"
        " limit",
    )
    events: str = Field(
        "",
        description="Events that a key or an address may send, such as 5000/second; empty: no"
        " limit",
    )
    failures: str = Field(
        "20/minute", description="Requests with a wrong key that an address may send"
    )

    @field_validator("*")
    @classmethod
    def _is_rate(cls, text: str) -> str:
        try:
            if text:
                parse_many(text)
        except ValueError:
            raise ValueError("must be like 100/second or 100/second;1000/minute") from None
        return text


class TlsSettings(Section):
    """Settings under `tls`."""

    certificate: Path | None = Field(None, description="PEM file with the certificate chain")
    key: Path | None = Field(None, description="PEM file with the private key")


class ProxySettings(Section):
    """Settings under `proxies`."""

    trusted: tuple[str, ...] = Field(
        (), description="Addresses and networks of proxies whose X-Forwarded-For is trusted"
    )

    @field_validator("trusted")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ip_network(network)
        return networks
