"""The start of a worker process: what happens in it before there is an event loop."""

import os
import signal
from pathlib import Path

from ingest.config.logging import configure_logging
from ingest.config.settings import Settings
from ingest.http.asgi import AsgiApp
from ingest.process import forbid_pandas, return_freed_memory
from ingest.server.trusted_proxies import TrustedProxies


def load_worker(settings: Settings, peers_dir: Path | None) -> AsgiApp:
    """Runs in the worker process, whose exit code is 1 when something was left undone."""

    def stop_before_start(signum: int, frame: object) -> None:
        os._exit(0)

    # A signal from a terminal is for the parent, which stops its workers; twice would hang them.
    os.setpgrp()
    # Until the event loop has its own, the parent's handlers are inherited, and would lose a stop.
    signal.signal(signal.SIGTERM, stop_before_start)
    signal.signal(signal.SIGINT, stop_before_start)
    configure_logging(settings.log)
    forbid_pandas()
    # Imported late: the parent process needs neither Arrow nor ClickHouse in memory.
    from ingest.app import create_app

    return_freed_memory()
    app = create_app(settings, peers_dir=peers_dir, undrained=lambda: os._exit(1))
    if settings.proxies.trusted:
        app = TrustedProxies(app, settings.proxies.trusted)
    return app
