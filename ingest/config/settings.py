"""The settings, from defaults, the YAML file and the environment.

The environment overrides the file. No other module reads environment variables.
"""

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from ingest.config.sections import (
    AckSettings,
    BufferSettings,
    CacheSettings,
    DeadLetterSettings,
    DedupSettings,
    FlushSettings,
    KeySettings,
    LimitSettings,
    LogSettings,
    Positive,
    ProxySettings,
    QuerySettings,
    RateSettings,
    TlsSettings,
    WalSettings,
)
from storage.clickhouse.server_url import parse_server_url

ENV_PREFIX = "EVENT_STREAM_"
CONFIG_ENV = f"{ENV_PREFIX}CONFIG"
CONFIG_DEFAULT = Path("config/config.yaml")


class SettingsError(Exception):
    """A setting is wrong. The text names it in one line."""


class Settings(BaseSettings):
    """All settings of the service."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
    )

    environment_type: Literal["dev", "prod"] = Field(
        "dev", description="dev or prod; shown in the log when the service starts"
    )
    host: str = Field("127.0.0.1", description="IP address that the service listens on")
    port: Annotated[int, Field(ge=1, le=65_535)] = Field(
        8080, description="Port that the service listens on"
    )
    workers: Positive = Field(
        1, description="Number of worker processes; more than 1 needs clickhouse_url"
    )
    database_type: Literal["clickhouse"] = Field(
        "clickhouse", description="The database; only clickhouse is supported"
    )
    clickhouse_url: str | None = Field(
        None, description="URL of a ClickHouse server; left out: the embedded engine under data_dir"
    )
    clickhouse_timeout_seconds: Positive = Field(
        30, description="How long inserts and changes of tables wait for the ClickHouse server"
    )
    clickhouse_cluster: Annotated[str, Field(pattern=r"^[\w.-]+$")] | None = Field(
        None, description="Cluster on which the tables are created, replicated and distributed"
    )
    redis_url: str | None = Field(
        None,
        description="URL of a Redis that shares cached responses and rate limits; left out: each"
        " worker has its own",
    )
    insecure: bool = Field(
        False,
        description="Whether the service may listen on any address without keys, open to everyone",
    )
    data_dir: Path = Field(Path("data"), description="Directory for the service's files")
    shutdown_seconds: Positive = Field(25, description="How long a worker may drain at shutdown")
    log: LogSettings = LogSettings()
    limits: LimitSettings = LimitSettings()
    buffer: BufferSettings = BufferSettings()
    flush: FlushSettings = FlushSettings()
    wal: WalSettings = WalSettings()
    dead_letters: DeadLetterSettings = DeadLetterSettings()
    ack: AckSettings = AckSettings()
    dedup: DedupSettings = DedupSettings()
    query: QuerySettings = QuerySettings()
    cache: CacheSettings = CacheSettings()
    keys: KeySettings = KeySettings()
    rate_limits: RateSettings = RateSettings()
    tls: TlsSettings = TlsSettings()
    proxies: ProxySettings = ProxySettings()

    @property
    def keys_file(self) -> Path:
        """The file with the hashes of the API keys."""
        return self.keys.file or self.data_dir / "keys.json"

    @property
    def wal_dir(self) -> Path:
        """The directory with the WAL of every worker."""
        return self.data_dir / "wal"

    @property
    def is_embedded(self) -> bool:
        """Whether the events are in the embedded engine, which only one process can use."""
        return self.clickhouse_url is None

    @field_validator("host")
    @classmethod
    def _is_address(cls, host: str) -> str:
        ip_address(host)
        return host

    @field_validator("clickhouse_url")
    @classmethod
    def _is_server_url(cls, url: str | None) -> str | None:
        if url is not None:
            parse_server_url(url)
        return url

    @field_validator("redis_url")
    @classmethod
    def _is_redis_url(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must start with redis://, rediss:// or unix://")
        return url

    @model_validator(mode="after")
    def _fits_together(self) -> "Settings":
        if self.workers > 1 and self.is_embedded:
            raise ValueError(
                "workers: only one process can use the embedded engine;"
                " set clickhouse_url to run more than 1"
            )
        if self.wal.bytes < 2 * self.wal.segment_bytes:
            # A segment counts in full, stored rows included, until the next segment begins.
            raise ValueError("wal.bytes: must be at least twice wal.segment_bytes")
        if (self.tls.certificate is None) != (self.tls.key is None):
            raise ValueError("tls: needs both certificate and key")
        if self.clickhouse_cluster is not None and self.is_embedded:
            raise ValueError("clickhouse_cluster: needs clickhouse_url")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read options first, then the environment, then the YAML file."""
        yaml_file = settings_cls.model_config.get("yaml_file")
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls, yaml_file)


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:
    """Load the settings.

    Args:
        config: the YAML file. None for the file that EVENT_STREAM_CONFIG names, or else for
            config/config.yaml if it exists.
        overrides: values that override the file and the environment; None values are ignored.

    Raises:
        SettingsError: a setting is wrong, or the file can't be read.
    """
    path = config or (Path(os.environ[CONFIG_ENV]) if CONFIG_ENV in os.environ else None)
    if path is not None and not path.is_file():
        raise SettingsError(f"Config file {path} does not exist")

    class _Located(Settings):
        model_config = SettingsConfigDict(yaml_file=path or CONFIG_DEFAULT)

    _check_environment()
    try:
        return _Located(**{key: value for key, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise SettingsError(_explain(error)) from error
    except yaml.YAMLError as error:
        where = f"Config file {path or CONFIG_DEFAULT} is not valid YAML"
        raise SettingsError(f"{where}: {' '.join(str(error).split())}") from error
    except (TypeError, ValueError) as error:  # the file or a variable has the wrong shape
        raise SettingsError(f"Settings can't be read: {' '.join(str(error).split())}") from error


def _check_environment() -> None:
    names = {f"{ENV_PREFIX}{name}".upper() for name in Settings.model_fields} | {CONFIG_ENV}
    for variable in os.environ:
        name, _, _ = variable.upper().removeprefix(ENV_PREFIX).partition("__")
        if variable.upper().startswith(ENV_PREFIX) and f"{ENV_PREFIX}{name}" not in names:
            raise SettingsError(
                f"Environment variable {variable} is not a setting: correct or remove it"
            )


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"Setting {name} is not known"
    message = first["msg"].removeprefix("Value error, ")
    if not name:
        return f"Setting {message}"
    # A URL may hold a password.
    given = "" if name.endswith("_url") else f" (is {first['input']!r})"
    return f"Setting {name}: {message}{given}"
