"""A real ZooKeeper, from the Linux distribution, for servers with Replicated tables."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.clickhouse.server import HOST, lasting_port
from tests.deploy.programs import require, require_file

JARS = [Path("/usr/share/java") / name for name in ("zookeeper.jar", "slf4j-simple.jar")]
"""The manifest of the first JAR names its dependencies. The second JAR prints the log."""
MAIN_CLASS = "org.apache.zookeeper.server.ZooKeeperServerMain"
START_S_MAX = 60
STOP_S_MAX = 20


@contextmanager
def running_zookeeper(directory: Path) -> Iterator[int]:
    """Start a ZooKeeper, yield its port, and stop it at the end of the block."""
    port = lasting_port()
    config = directory / "zoo.cfg"
    config.write_text(
        f"dataDir={directory / 'zookeeper'}\ntickTime=500\nadmin.enableServer=false\n"
        f"clientPortAddress={HOST}\nclientPort={port}\n4lw.commands.whitelist=srvr\n"
    )
    jars = ":".join(str(require_file(jar)) for jar in JARS)
    command = [require("java"), "-Xmx128m", "-XX:+UseSerialGC", "-cp", jars, MAIN_CLASS]
    log = directory / "zookeeper.log"
    with log.open("wb") as file:
        process = subprocess.Popen([*command, str(config)], stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline_s = time.monotonic() + START_S_MAX
        while "Mode: standalone" not in _status(port):
            assert process.poll() is None, f"ZooKeeper has ended: {log.read_text()}"
            assert time.monotonic() < deadline_s, f"ZooKeeper does not start: {log.read_text()}"
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _status(port: int) -> str:
    """Return the response to the four-letter command `srvr`, or an empty text on an error."""
    try:
        with socket.create_connection((HOST, port), timeout=5) as connection:
            connection.sendall(b"srvr")
            with connection.makefile("rb") as answer:
                return answer.read().decode()
    except OSError:
        return ""
