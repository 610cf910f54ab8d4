"""Configuration of structlog: one line for each entry, as JSON or for the console."""

import logging
import sys

import structlog

from ingest.config.sections import LogSettings

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}

# These libraries warn of every failed attempt. Our own entries report only changes of state.
_NOISY = ("clickhouse_connect", "urllib3")


def configure_logging(settings: LogSettings) -> None:
    """Send our log entries and those of libraries to standard error, in one format."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.level]),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    # A filter, because the driver sets the levels of other loggers when it is imported.
    handler.addFilter(
        lambda record: record.levelno >= logging.ERROR or not record.name.startswith(_NOISY)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Debug entries of libraries are never logged.
    root.setLevel(max(_LEVELS[settings.level], logging.INFO))
