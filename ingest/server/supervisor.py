"""One service on one machine: the checks before it starts, and Granian with its workers."""

import fcntl
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.abc import MetaPathFinder
from ipaddress import ip_address
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import structlog
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer

from ingest.auth.addresses import TrustedProxies
from ingest.auth.keys import KeyFile, KeysError, keys_path
from ingest.config.logging import configure_logging
from ingest.config.settings import Settings
from ingest.http.body import AsgiApp

KILL_MARGIN_S = 2
"""Between the end of the time to drain and the kill of a worker that is still there."""
EXIT_CODE_WAIT_S = 5
WAKE_EVERY_S = 0.1
RELOAD_OVERLAP_S = 5
"""At a reload (SIGHUP), how long an old worker stays for its successor to start."""

# Granian's own entries go where ours go.
_GRANIAN_LOGGING = {
    "loggers": {
        "_granian": {"handlers": [], "propagate": True},
        "granian.access": {"handlers": [], "propagate": True},
    }
}

log = structlog.get_logger()


class StartError(Exception):
    """The service can't start; the text says why and what to do."""


def serve(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code: 0 when nothing was left undone.

    Raises StartError.
    """
    configure_logging(settings.log)
    # What a worker is given is not made to be pickled, as Python 3.14's own choice would have it.
    multiprocessing.set_start_method("fork", force=True)
    with ExitStack() as stack:
        _check_port(settings.host, settings.port)
        _make_data_dir(settings.data_dir)
        _check_keys(settings)
        if settings.clickhouse_url is None:
            stack.enter_context(locked(settings.data_dir))
        peers_dir = None
        if settings.workers > 1:
            # Not under data_dir: the path of a Unix socket has 107 characters at most.
            prefix = "event-stream-"
            peers_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))
        log.info(
            "starting",
            url=f"{'https' if settings.tls.key else 'http'}://"
            + _host_port(settings.host, settings.port),
            storage="clickhouse" if settings.clickhouse_url else "embedded",
            workers=settings.workers,
            environment=settings.environment_type,
        )
        server = _granian(settings)
        server.serve(target_loader=partial(_load_worker, settings, peers_dir), wrap_loader=False)
        return 0 if server.all_drained else 1


class _Server(MPServer):
    """Granian, which forgets how its workers ended, and now and then says of one that had that it
    would not and was killed."""

    all_drained = False
    _is_stopping = False

    def signal_handler_interrupt(self, *_: object) -> None:
        if not self.interrupt_signal:
            self.interrupt_signal = True
            # Granian's own handler takes a lock that this very thread may hold when a signal comes
            # twice, as from a terminal or `timeout`; and its loop may clear what is set just now.
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
                log.error("worker does not stop: killing it", pid=worker.inner.pid)
                worker.kill()  # type: ignore[no-untyped-call]
        self.all_drained = all(_exit_code(w.inner, EXIT_CODE_WAIT_S) == 0 for w in self.wrks)
        self.wrks.clear()


def _exit_code(process: BaseProcess, wait_s: float) -> int | None:
    """None when it does not end in that time."""
    if not wait([process.sentinel], max(wait_s, 0)):
        return None
    # Another thread of Granian's waits for it as well, and may know its end a moment earlier.
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


def _load_worker(settings: Settings, peers_dir: Path | None) -> AsgiApp:
    """Runs in the worker process, whose exit code is 1 when something was left undone."""

    def stop_before_start(signum: int, frame: object) -> None:
        os._exit(0)

    # A signal from a terminal is for the parent, which stops its workers; twice would hang them.
    os.setpgrp()
    # Until the event loop has its own, the parent's handlers are inherited, and would lose a stop.
    signal.signal(signal.SIGTERM, stop_before_start)
    signal.signal(signal.SIGINT, stop_before_start)
    configure_logging(settings.log)
    sys.meta_path.insert(0, _NoPandas())
    # Imported late: the parent process needs neither Arrow nor ClickHouse in memory.
    from ingest.app import create_app
    from ingest.memory import keep_little

    keep_little()
    app = create_app(settings, peers_dir=peers_dir, undrained=lambda: os._exit(1))
    if settings.proxies.trusted:
        app = TrustedProxies(app, settings.proxies.trusted)
    return app


class _NoPandas(MetaPathFinder):
    """PERF: Arrow imports pandas where it finds it, and chdb brings it: 1.5 s of every start and
    36 MB of every worker, for what is not used here."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is not used here", name=name)


def _check_keys(settings: Settings) -> None:
    """Nobody is to find an open service on a network by accident."""
    try:
        has_keys = bool(KeyFile(keys_path(settings)).read())
    except KeysError as error:
        raise StartError(str(error)) from error
    if ip_address(settings.host).is_loopback or has_keys or settings.insecure:
        return
    raise StartError(
        f"Without keys the service listens on loopback alone, not on {settings.host}."
        " Make one with: event-stream keys create NAME --scope ingest."
        " Or set insecure: true to let everyone in who can reach that address"
    )


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _check_port(host: str, port: int) -> None:
    # Granian shares ports between processes, so a second service would get half the requests.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartError(
                f"Can't listen on {_host_port(host, port)}: {error.strerror}."
                " Stop what uses that port, or choose another with --port"
            ) from error


def _make_data_dir(data_dir: Path) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(
            f"Can't make the data directory {data_dir}: {error.strerror}."
            " Choose another with --data-dir"
        ) from error


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """The embedded engine's directory for this process alone. Raises StartError."""
    try:
        lock = (data_dir / "lock").open("wb")
    except OSError as error:
        raise StartError(
            f"Can't write to the data directory {data_dir}: {error.strerror}."
            " Choose another with --data-dir"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartError(
                f"The data directory {data_dir} is in use by another service."
                " Stop that one, or choose another directory with --data-dir"
            ) from error
        yield
