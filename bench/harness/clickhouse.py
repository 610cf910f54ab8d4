"""A ClickHouse server from the chDB wheel, in a process of its own, for a benchmark or a test.

Use a database that `create_database` made. The database `default` belongs to the engine and gives
different errors.
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
from urllib.parse import quote, urlencode

from bench.harness.processes import Processes
from bench.harness.service import HOST

START_S_MAX = 60
STOP_S_MAX = 40
ROOT = Path(__file__).parents[2]

USER, PASSWORD = "app", "secret"
_USERS_XML = f"""<clickhouse>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <users>
    <default><password/><networks><ip>{HOST}</ip></networks></default>
    <{USER}><password>{PASSWORD}</password><networks><ip>{HOST}</ip></networks></{USER}>
  </users>
</clickhouse>"""
"""USER has all rights. Without the user `default` no server starts."""


class ServerError(Exception):
    """The server refused a statement.

    Attributes:
        code: error code of ClickHouse, or 0.
    """

    def __init__(self, code: int, message: str) -> None:
        """Create the error with the code and the text of the server."""
        super().__init__(message)
        self.code = code


class ClickHouse:
    """A ClickHouse server.

    Attributes:
        data_dir: data directory of the server.
        more_xml: sections of its configuration. A change takes effect at the next start.
        users_xml: its users. A change takes effect at the next start.
        http_port: its HTTP port.
        tcp_port: its TCP port.
    """

    def __init__(
        self,
        *,
        data_dir: Path,
        more_xml: str = "",
        users_xml: str = _USERS_XML,
        http_port: int | None = None,
        tcp_port: int | None = None,
    ) -> None:
        """Choose the ports, which stay the same after a restart.

        Args:
            data_dir: data directory of the server.
            more_xml: sections of its configuration.
            users_xml: its users.
            http_port: its HTTP port; None for a free port.
            tcp_port: its TCP port; None for a free port.
        """
        self.data_dir = data_dir.resolve()
        self.more_xml = more_xml
        self.users_xml = users_xml
        self.http_port = http_port or lasting_port()
        self.tcp_port = tcp_port or lasting_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The process of the server, which must have been started."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def processes(self) -> Processes:
        """The process of the server, with its CPU time and its memory."""
        return Processes(self.process.pid)

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and wait until it responds.

        Raises:
            RuntimeError: the process has ended.
        """
        assert not self.running
        self.data_dir.mkdir(parents=True, exist_ok=True)
        users = self.data_dir / "users.xml"
        users.write_text(self.users_xml)
        more = self.data_dir / "more.xml"
        more.write_text(f"<users_config>{users}</users_config>{self.more_xml}")
        command = [sys.executable, "-m", "bench.harness.clickhouse_process", str(self.data_dir)]
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
        """Return whether the server responds to a ping."""
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.http_port}/ping", timeout=5):
                return self.running  # otherwise another server uses its port
        except OSError:
            return False

    def stop(self) -> None:
        """Stop the server with SIGTERM. It finishes the running statements first."""
        self.process.send_signal(signal.SIGTERM)
        self.resume()
        try:
            self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the server with SIGKILL, as in a crash."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Stop and start the server."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Pause the server: it accepts connections and does not respond."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server continue."""
        self.process.send_signal(signal.SIGCONT)

    def url(self, database: str, *, user: str = USER, password: str = PASSWORD) -> str:
        """Return the URL of a database, for one user."""
        login = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return f"http://{login}@{HOST}:{self.http_port}/{quote(database, safe='')}"

    def sql(
        self,
        statement: str,
        *,
        database: str = "default",
        user: str = USER,
        password: str = PASSWORD,
        **settings: Any,
    ) -> str:
        """Run a statement.

        Args:
            statement: SQL.
            database: database in which the statement runs.
            user: name of the user.
            password: password of the user.
            **settings: ClickHouse settings.

        Returns:
            The result as text, with tabs between columns and without the last line break.

        Raises:
            ServerError: the server refused the statement.
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
        """Create a database and return its URL for `USER`.

        Args:
            name: name of the database; empty for a new name.
        """
        name = name or f"database_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE `{name}`")
        return self.url(name)


@contextmanager
def running_clickhouse(data_dir: Path, **options: Any) -> Iterator[ClickHouse]:
    """Start a server, and stop it at the end of the block if it still runs.

    Args:
        data_dir: data directory of the server.
        **options: see `ClickHouse`.
    """
    server = ClickHouse(data_dir=data_dir, **options)
    server.start()
    try:
        yield server
    finally:
        if server.running:
            server.stop()


def lasting_port() -> int:
    """Return a free port below the ephemeral ports of Linux.

    During a restart of the server no connection can take this port.
    """
    while True:
        port = random.randrange(10_000, 32_768)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
