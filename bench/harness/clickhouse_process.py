"""Run a ClickHouse server from the chDB wheel, with the real HTTP and TCP handlers and users.

    python -m bench.harness.clickhouse_process DATA_DIR HTTP_PORT TCP_PORT [FILE_WITH_MORE_XML]

SIGTERM stops the server cleanly. SIGKILL is a crash. HTTPS is not possible, because the engine
refuses to listen.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any


def main() -> int:
    """Run the server until SIGTERM, and return the exit code."""
    data_dir, http_port, tcp_port = Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3]
    more_xml = Path(sys.argv[4]).read_text() if len(sys.argv) > 4 else ""
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / "config.xml").write_text(
        "<clickhouse><listen_host>127.0.0.1</listen_host>"
        f"<http_port>{http_port}</http_port><tcp_port>{tcp_port}</tcp_port>"
        f"<mark_cache_size>500000000</mark_cache_size>{more_xml}</clickhouse>"
    )
    # The server runs until its last statement ends. This statement reads the pipe to its end.
    stop_pipe = data_dir / f"stop.{os.getpid()}"
    stop_pipe.unlink(missing_ok=True)
    os.mkfifo(stop_pipe)
    held = os.open(stop_pipe, os.O_RDWR)
    os.chdir(data_dir)  # the engine reads config.xml from the working directory during its import
    from chdb import _chdb

    engine: Any = _chdb  # its types lack some functions
    engine.set_signal_handlers_enabled(0)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    exit_codes: list[int] = []

    def run() -> None:
        try:
            result = engine.query(
                "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP;"
                f" SELECT * FROM file('{stop_pipe}', 'LineAsString', 'line String') FORMAT Null",
                "TSV",
                path=str(data_dir / "db"),
            )
            print(result.error_message() or "stopped", flush=True)
            exit_codes.append(int(result.has_error()))
        except RuntimeError as error:
            print(error, flush=True)
            exit_codes.append(1)

    server = threading.Thread(target=run, daemon=True)
    server.start()
    while server.is_alive() and not stop.wait(0.1):
        pass
    if server.is_alive():
        os.close(held)
        server.join(30)
    stop_pipe.unlink()
    return exit_codes[0] if exit_codes else 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
