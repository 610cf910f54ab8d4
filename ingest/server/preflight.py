"""Checks before the service starts: port, data directory, keys, and who has the engine."""

import fcntl
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from ingest.auth.keys import KeyFile, KeysError
from ingest.config.settings import Settings


class StartError(Exception):
    """The service can't start; the text says why and what to do."""


def check_keys(settings: Settings) -> None:
    """Nobody is to find an open service on a network by accident."""
    try:
        has_keys = bool(KeyFile(settings.keys_file).read())
    except KeysError as error:
        raise StartError(str(error)) from error
    if ip_address(settings.host).is_loopback or has_keys or settings.insecure:
        return
    raise StartError(
        f"Without keys the service listens on loopback alone, not on {settings.host}."
        " Make one with: event-stream keys create NAME --scope ingest."
        " Or set insecure: true to let everyone in who can reach that address"
    )


def check_port(host: str, port: int) -> None:
    # Granian shares ports between processes, so a second service would get half the requests.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartError(
                f"Can't listen on {host_port(host, port)}: {error.strerror}."
                " Stop what uses that port, or choose another with --port"
            ) from error


def make_data_dir(data_dir: Path) -> None:
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


def host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
