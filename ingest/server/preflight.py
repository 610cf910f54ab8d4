"""Checks before the service starts: port, data directory, keys, and lock of the engine."""

import fcntl
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from ingest.auth.keys import KeyFile, KeysError
from ingest.config.settings import Settings


class StartError(Exception):
    """The service can't start. The text says why and what to do."""


def check_keys(settings: Settings) -> None:
    """Check that the service has keys if other machines can reach it.

    This prevents an operator from exposing an open service by accident.

    Raises:
        StartError: there are no keys, the address is not loopback, and `insecure` is not set.
    """
    try:
        has_keys = bool(KeyFile(settings.keys_file).read())
    except KeysError as error:
        raise StartError(str(error)) from error
    if ip_address(settings.host).is_loopback or has_keys or settings.insecure:
        return
    raise StartError(
        f"Without API keys the service listens only on loopback addresses, not on {settings.host}."
        " Create a key: event-stream keys create NAME --scope ingest."
        " Or set insecure: true to serve everyone who can reach that address"
    )


def check_port(host: str, port: int) -> None:
    """Check that nothing else listens on this port.

    Granian shares ports between processes. Without this check a second service would get half of
    the requests.

    Raises:
        StartError: the service can't listen there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartError(
                f"Can't listen on {host_port(host, port)}: {error.strerror}."
                " Stop the program that uses the port, or choose another port with --port"
            ) from error


def make_data_dir(data_dir: Path) -> None:
    """Create the data directory if it does not exist.

    Raises:
        StartError: it can't be created.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(
            f"Can't create the data directory {data_dir}: {error.strerror}."
            " Choose another directory with --data-dir"
        ) from error


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the lock of a data directory, whose embedded engine only one process can use.

    Raises:
        StartError: another process has the lock, or the directory is not writable.
    """
    try:
        lock = (data_dir / "lock").open("wb")
    except OSError as error:
        raise StartError(
            f"Can't write to the data directory {data_dir}: {error.strerror}."
            " Choose another directory with --data-dir"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartError(
                f"The data directory {data_dir} is in use by another service."
                " Stop that service, or choose another directory with --data-dir"
            ) from error
        yield


def host_port(host: str, port: int) -> str:
    """Format an address and a port as in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
