"""Run the service: Granian and its worker processes."""

import multiprocessing
import tempfile
import threading
import time
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import structlog
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer

from ingest.config.logging import configure_logging
from ingest.config.settings import Settings
from ingest.server.preflight import check_keys, check_port, host_port, locked, make_data_dir
from ingest.server.worker_process import load_worker

KILL_MARGIN_S = 2
"""How long after `shutdown_seconds` a worker that still runs is killed."""
EXIT_CODE_WAIT_S = 5
WAKE_EVERY_S = 0.1
RELOAD_OVERLAP_S = 5
"""How long an old worker keeps running at a reload (SIGHUP), while the new one starts."""

# Granian's log entries go to our handler.
_GRANIAN_LOGGING = {
    "loggers": {
        "_granian": {"handlers": [], "propagate": True},
        "granian.access": {"handlers": [], "propagate": True},
    }
}

log = structlog.get_logger()


def serve(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code: 0 if all workers drained, else 1.

    Raises:
        StartError: a check before the start failed.
    """
    configure_logging(settings.log)
    # The arguments of a worker can't be pickled, which Python 3.14's default start method requires.
    multiprocessing.set_start_method("fork", force=True)
    with ExitStack() as stack:
        check_port(settings.host, settings.port)
        make_data_dir(settings.data_dir)
        check_keys(settings)
        if settings.is_embedded:
            stack.enter_context(locked(settings.data_dir))
        peers_dir = None
        if settings.workers > 1:
            # Not under data_dir, because the path of a Unix socket has at most 107 characters.
            prefix = "event-stream-"
            peers_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))
        log.info(
            "starting",
            url=f"{'https' if settings.tls.key else 'http'}://"
            + host_port(settings.host, settings.port),
            storage="clickhouse" if settings.clickhouse_url else "embedded",
            workers=settings.workers,
            environment=settings.environment_type,
        )
        server = _granian(settings)
        server.serve(target_loader=partial(load_worker, settings, peers_dir), wrap_loader=False)
        return 0 if server.all_drained else 1


class _Server(MPServer):
    """Granian's server, changed to report whether all workers drained.

    Granian does not keep the exit codes of its workers. It also sometimes reports that it killed a
    worker that had already ended.
    """

    all_drained = False
    _is_stopping = False

    def signal_handler_interrupt(self, *_: object) -> None:
        if not self.interrupt_signal:
            self.interrupt_signal = True
            # Granian's handler takes a lock that this thread already holds if a second signal
            # arrives, as from a terminal or `timeout`. And Granian's loop may clear the event right
            # after it was set. So another thread sets it until the workers are stopped.
            threading.Thread(target=self._wake, daemon=True).start()

    def _wake(self) -> None:
        while not self._is_stopping:
            self.main_loop_interrupt.set()
            time.sleep(WAKE_EVERY_S)

    def _stop_workers(self) -> None:
        self._is_stopping = True
        for worker in self.wrks:
            worker.terminate()  # type: ignore[no-untyped-call]
        deadline_s = time.monotonic() + (self.workers_kill_timeout or 0)
        for worker in self.wrks:
            if _exit_code(worker.inner, deadline_s - time.monotonic()) is None:
                log.error("worker did not stop in time: killing it", pid=worker.inner.pid)
                worker.kill()  # type: ignore[no-untyped-call]
        self.all_drained = all(_exit_code(w.inner, EXIT_CODE_WAIT_S) == 0 for w in self.wrks)
        self.wrks.clear()


def _exit_code(process: BaseProcess, wait_s: float) -> int | None:
    """Wait for a process and return its exit code; None if it does not end in `wait_s`."""
    if not wait([process.sentinel], max(wait_s, 0)):
        return None
    # A thread of Granian waits for it too. If that thread is first, the exit code comes later.
    deadline_s = time.monotonic() + EXIT_CODE_WAIT_S
    while process.exitcode is None and time.monotonic() < deadline_s:
        time.sleep(0.001)
    return process.exitcode


def _granian(settings: Settings) -> _Server:
    return _Server(
        "event-stream",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        workers=settings.workers,
        backpressure=settings.limits.connections,
        ssl_cert=settings.tls.certificate,
        ssl_key=settings.tls.key,
        http1_settings=HTTP1Settings(
            header_read_timeout=round(settings.limits.head_seconds * 1000)
        ),
        log_level=LogLevels.warning,
        log_dictconfig=_GRANIAN_LOGGING,
        respawn_failed_workers=True,
        respawn_interval=RELOAD_OVERLAP_S,
        workers_kill_timeout=settings.shutdown_seconds + KILL_MARGIN_S,
    )
