"""A ClickHouse server as a process that a test starts, stops, kills and pauses.

Its users are in `tests.clickhouse.users`. Use a database made by `create_database`: the one named
`default` is the engine's own and gives other errors.
"""

import base64
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from tests.clickhouse.users import DEFAULT_USERS, PASSWORD

HOST = "127.0.0.1"
START_S_MAX = 60
STOP_S_MAX = 40
ROOT = Path(__file__).parents[2]


class ServerError(Exception):
    """The server refused a statement; code: its own number of the error, or 0."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class ClickHouse:
    """more_xml and users_xml may be changed at any time: they are read by the next start."""

    def __init__(
        self,
        *,
        data_dir: Path,
        more_xml: str = "",
        users_xml: str = DEFAULT_USERS,
        http_port: int | None = None,
        tcp_port: int | None = None,
    ) -> None:
        """more_xml: sections of the server's configuration. Ports are free ones when left out, and
        the same after a restart."""
        self.data_dir = data_dir.resolve()
        self.more_xml = more_xml
        self.users_xml = users_xml
        self.http_port = http_port or free_port()
        self.tcp_port = tcp_port or free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "not started"
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start and wait until it answers. Raises RuntimeError when it ends instead."""
        assert not self.running
        self.data_dir.mkdir(parents=True, exist_ok=True)
        users = self.data_dir / "users.xml"
        users.write_text(self.users_xml)
        more = self.data_dir / "more.xml"
        more.write_text(f"<users_config>{users}</users_config>{self.more_xml}")
        command = [sys.executable, "-m", "tests.clickhouse.server_process", str(self.data_dir)]
        command += [str(self.http_port), str(self.tcp_port), str(more)]
        output = self.data_dir / "output.txt"
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT
            )
        deadline_s = time.monotonic() + START_S_MAX
        while not self.answers():
            if not self.running:
                raise RuntimeError(f"ClickHouse has ended: {output.read_text()}")
            assert time.monotonic() < deadline_s, "ClickHouse does not start"
            time.sleep(0.02)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.http_port}/ping", timeout=5):
                return self.running  # and not another one at its port
        except OSError:
            return False

    def stop(self) -> None:
        """SIGTERM: statements that run are ended first."""
        self.process.send_signal(signal.SIGTERM)
        self.resume()
        try:
            self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL: a crash."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """It takes connections and does not answer."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def url(self, database: str, *, user: str = "app", password: str = PASSWORD) -> str:
        login = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return f"http://{login}@{HOST}:{self.http_port}/{quote(database, safe='')}"

    def sql(
        self,
        statement: str,
        *,
        database: str = "default",
        user: str = "app",
        password: str = PASSWORD,
        **settings: Any,
    ) -> str:
        """The answer as text: tabs between columns, without the last line break.

        Raises ServerError.
        """
        query = urlencode({"database": database, **settings})
        request = urllib.request.Request(
            f"http://{HOST}:{self.http_port}/?{query}", data=statement.encode()
        )
        login = base64.b64encode(f"{user}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {login}")
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return str(reply.read().decode().removesuffix("\n"))
        except urllib.error.HTTPError as error:
            with error:
                code = int(error.headers.get("X-ClickHouse-Exception-Code", 0))
                raise ServerError(code, error.read().decode()) from None

    def create_database(self, name: str = "") -> str:
        """Create a database and return its URL for the user `app`.

        name: one that is not used yet when left out.
        """
        name = name or f"database_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE `{name}`")
        return self.url(name)


@contextmanager
def running_clickhouse(data_dir: Path, **options: Any) -> Iterator[ClickHouse]:
    """A started server, stopped at the end unless it has ended."""
    server = ClickHouse(data_dir=data_dir, **options)
    server.start()
    try:
        yield server
    finally:
        if server.running:
            server.stop()


def with_port(url: str, port: int) -> str:
    """The server's URL with the port of a proxy before it."""
    parts = urlsplit(url)
    login = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{login}@{HOST}:{port}").geturl()


def free_port() -> int:
    """One below those that Linux gives to connections: it is still free after a restart."""
    while True:
        port = random.randrange(10_000, 32_768)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
