"""The settings of each part: what there is to set, its default and its bounds."""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from limits import parse_many
from pydantic import BaseModel, ConfigDict, Field, field_validator

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
MIB = 1024 * 1024


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LogSettings(Section):
    level: Literal["debug", "info", "warn", "error"] = "info"
    format: Literal["json", "console"] = "console"


class LimitSettings(Section):
    body_bytes: Positive = Field(16 * MIB, description="Bytes of a body as sent")
    held_bytes: Positive = Field(256 * MIB, description="Bytes of all bodies at a time in a worker")
    decompressed_bytes: Positive = Field(16 * MIB, description="Bytes of a body decompressed")
    events_per_request: Positive = Field(10_000, description="Events in one request")
    body_seconds: Seconds = Field(10, description="Time for a body to arrive")
    head_bytes: Positive = Field(65_536, description="Bytes of all headers of a request")
    url_bytes: Positive = Field(8_192, description="Bytes of a request's path and query")
    head_seconds: Annotated[float, Field(ge=1, le=3600)] = Field(
        10, description="Time for a request's headers to arrive, and of silence between requests"
    )
    connections: Positive = Field(1024, description="Requests served at once by a worker")


class BufferSettings(Section):
    rows: Positive = Field(500_000, description="Rows in the ring buffer")
    bytes: Positive = Field(256 * MIB, description="Bytes in the ring buffer")
    slots: Positive = Field(65_536, description="Record batches in the ring buffer")
    commit_rows: Positive = Field(
        512,
        description="Events, or requests, that become one record batch while others are written",
    )


class FlushSettings(Section):
    rows: Positive = Field(50_000, description="Rows at which the buffer is flushed")
    bytes: Positive = Field(32 * MIB, description="Bytes at which the buffer is flushed")
    seconds: Seconds = Field(1, description="Age at which the buffer is flushed")


class WalSettings(Section):
    enabled: bool = Field(True, description="Whether there is a write-ahead log")
    bytes: Positive = Field(8192 * MIB, description="Bytes of a worker's log")
    retain_seconds: Annotated[int, Field(ge=0)] = Field(
        600, description="How long the log keeps what is stored, should the table lose a part"
    )
    segment_bytes: Positive = Field(64 * MIB, description="Bytes at which a new file begins")


class DeadLetterSettings(Section):
    bytes: Positive = Field(1024 * MIB, description="Bytes of all dead letters")


class AckSettings(Section):
    level: Literal["buffered", "durable", "stored"] = Field(
        "durable", description="What a 201 promises when the request does not say"
    )
    stored_seconds: Seconds = Field(10, description="How long ack=stored waits for storage")


class DedupSettings(Section):
    ids: Positive = Field(1_000_000, description="Recent ids remembered in memory")
    warm_seconds: Annotated[int, Field(ge=0)] = Field(
        600, description="Ids stored so recently are remembered at the start"
    )


class QuerySettings(Section):
    concurrency: Positive = Field(2, description="Queries run at once by a worker")
    waiting: Annotated[int, Field(ge=0)] = Field(
        100, description="Queries that may wait for that; more are answered with 429"
    )
    seconds: Positive = Field(30, description="Time after which a query is stopped")
    memory_bytes: Positive = Field(2048 * MIB, description="Memory that a query may take")
    read_rows: Positive = Field(10_000_000_000, description="Rows that a query may read")
    result_rows: Positive = Field(100_000, description="Rows that an answer may have")
    flush_seconds: Seconds = Field(
        10, description="How long ?consistency=flushed waits for the flush"
    )


class CacheSettings(Section):
    bytes: Positive = Field(64 * MIB, description="Bytes of answers that a worker keeps")
    open_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        1, description="Age of an answer whose range reaches the present; 0: not kept"
    )
    closed_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        30, description="Age of an answer whose range lies in the past: late events show by then"
    )


class KeySettings(Section):
    file: Path | None = Field(None, description="Where the keys' hashes are; data_dir/keys.json")


class RateSettings(Section):
    requests: str = Field("", description="Requests of a key or address, such as 100/second")
    events: str = Field("", description="Events of a key or address, such as 5000/second")
    failures: str = Field("20/minute", description="Wrong keys from an address")

    @field_validator("*")
    @classmethod
    def _is_rate(cls, text: str) -> str:
        try:
            parse_many(text) if text else None
        except ValueError:
            raise ValueError("must be like 100/second or 100/second;1000/minute") from None
        return text


class TlsSettings(Section):
    certificate: Path | None = Field(None, description="PEM file with the certificate chain")
    key: Path | None = Field(None, description="PEM file with its private key")


class ProxySettings(Section):
    trusted: tuple[str, ...] = Field(
        (), description="Addresses or networks whose X-Forwarded-For is believed"
    )

    @field_validator("trusted")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ip_network(network)
        return networks
