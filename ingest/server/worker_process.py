"""The start of a worker process, before it has an event loop."""

import os
import signal
from pathlib import Path

from ingest.config.logging import configure_logging
from ingest.config.settings import Settings
from ingest.http.asgi import AsgiApp
from ingest.process import forbid_pandas, return_freed_memory
from ingest.server.trusted_proxies import TrustedProxies


def load_worker(settings: Settings, peers_dir: Path | None) -> AsgiApp:
    """Build the app of a worker process, in that process.

    The process exits with 1 if it can't drain in time.

    Args:
        settings: of the service.
        peers_dir: directory for the sockets between the workers; None if there is one worker.
    """

    def stop_before_start(signum: int, frame: object) -> None:
        os._exit(0)

    # A terminal sends its signals to the whole process group. Only the parent should get them: it
    # stops the workers, and a second signal would hang them.
    os.setpgrp()
    # The event loop installs its own handlers later. Until then the worker would use the parent's
    # handlers, which it inherited, and a stop would be lost.
    signal.signal(signal.SIGTERM, stop_before_start)
    signal.signal(signal.SIGINT, stop_before_start)
    configure_logging(settings.log)
    forbid_pandas()
    # Imported late because the parent process must not load Arrow or ClickHouse.
    from ingest.app import create_app

    return_freed_memory()
    app = create_app(settings, peers_dir=peers_dir, undrained=lambda: os._exit(1))
    if settings.proxies.trusted:
        app = TrustedProxies(app, settings.proxies.trusted)
    return app
