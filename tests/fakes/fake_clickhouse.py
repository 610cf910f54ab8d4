"""A fake ClickHouse server: its HTTP protocol, as far as clickhouse-connect speaks it, over chDB.

    python -m tests.fakes.fake_clickhouse PORT DATA_DIR

The SQL engine behind it is the real one, so what tables, settings, tokens and errors do is real.
The HTTP side is not: no users, no sessions, no streaming, no progress headers.

`POST /fault` with the name of a fault makes inserts fail that way from then on, with an empty body
not any more: a number of ClickHouse, an HTTP status such as `http-502`, or one of FAULTS.
"""

import gzip
import json
import re
import socket
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chdb
import lz4.frame

# Parameters that the HTTP interface reads itself; every other one is a setting.
_RESERVED = {
    "query", "database", "query_id", "session_id", "compress", "decompress", "quota_key", "role",
    "client_protocol_version", "enable_http_compression", "wait_end_of_query", "buffer_size",
    "send_progress_in_http_headers", "http_headers_progress_interval_ms", "user", "password",
}  # fmt: skip
_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*$", re.I)
_INSERT = re.compile(r"^\s*(INSERT\s+INTO\s+.*?)\s+FORMAT\s+(\w+)\s*$", re.I | re.S)
_CODE = re.compile(r"Code: (\d+)")
_DECOMPRESSORS = {
    "": lambda data: data,
    "lz4": lz4.frame.decompress,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
}


FAULTS = {
    "hang": "answers after a minute",
    "reset": "resets the connection",
    "cut": "ends the connection in the middle of the headers",
    "lost-reply": "inserts, and then ends the connection",
    "html-200": "a proxy's page, with status 200",
    "error-200": "an error in the body, with status 200",
}


class Engine:
    """Connections to one chDB data directory, one for each query that runs."""

    def __init__(self, data_dir: Path) -> None:
        self._path = str(data_dir / "clickhouse")
        self._tmp = data_dir / "tmp"
        self._tmp.mkdir(parents=True, exist_ok=True)
        self._free: SimpleQueue[Any] = SimpleQueue()

    def select(
        self, sql: bytes, settings: Mapping[str, str], parameters: Mapping[str, str]
    ) -> tuple[bytes, str]:
        """(body, its format)."""
        match = _FORMAT.search(sql)
        name = match[1].decode() if match else "TabSeparated"
        with self._connection(settings) as connection:
            result = connection.query(sql.decode(), name, params=dict(parameters))
            return result.bytes() or b"", name

    def insert(self, sql: str, data: bytes, settings: Mapping[str, str]) -> int:
        """The number of rows written."""
        match = _INSERT.match(sql)
        assert match is not None, sql
        with tempfile.NamedTemporaryFile(dir=self._tmp) as file:
            file.write(data)
            file.flush()
            with self._connection(settings) as connection:
                result = connection.query(
                    f"{match[1]} FROM INFILE '{file.name}' FORMAT {match[2]}", "TabSeparated"
                )
                return int(result.rows_read())

    @contextmanager
    def _connection(self, settings: Mapping[str, str]) -> Iterator[Any]:
        try:
            connection = self._free.get_nowait()
        except Empty:
            connection = chdb.connect(self._path)
        try:
            for name, value in settings.items():
                quoted = value.replace("\\", "\\\\").replace("'", "\\'")
                connection.query(f"SET {name} = '{quoted}'", "TabSeparated")
            yield connection
        finally:
            for name in settings:
                connection.query(f"SET {name} = DEFAULT", "TabSeparated")
            self._free.put(connection)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine: Engine
    fault = ""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def _serve(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/ping":
            self._reply(200, b"Ok.\n", {})
            return
        if url.path == "/fault":
            Handler.fault = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
            self._reply(200, b"", {})
            return
        arguments = dict(parse_qsl(url.query, keep_blank_values=True))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._read_chunks()
        body = _DECOMPRESSORS[self.headers.get("Content-Encoding", "")](body)
        settings = {
            k: v for k, v in arguments.items() if k not in _RESERVED and not k.startswith("param_")
        }
        parameters = {
            k.removeprefix("param_"): v for k, v in arguments.items() if k.startswith("param_")
        }
        try:
            query = arguments.get("query", "")
            if not query and body[:12].lstrip().upper().startswith(b"INSERT"):
                line, _, body = body.partition(b"\n")
                query = line.decode()
            if _INSERT.match(query):
                if self.fault and self._fail(self.fault, query, body, settings):
                    return
                rows = self.engine.insert(query, body, settings)
                summary = {"written_rows": str(rows), "read_rows": str(rows)}
                self._reply(200, b"", {"X-ClickHouse-Summary": json.dumps(summary)})
                return
            sql = query.encode() + (b"\n" if query and body else b"") + body
            data, name = self.engine.select(sql, settings, parameters)
            headers = {"X-ClickHouse-Format": name} if data else {}
            self._reply(200, data, headers)
        except Exception as error:
            text = str(error)
            match = _CODE.search(text)
            code = match[1] if match else "1001"
            self._reply(500, text.encode(), {"X-ClickHouse-Exception-Code": code})

    def _fail(self, fault: str, query: str, body: bytes, settings: Mapping[str, str]) -> bool:
        """Fail in the way of `fault`; True: nothing more is to be done."""
        if fault == "hang":
            time.sleep(60)
        elif fault == "lost-reply":
            self.engine.insert(query, body, settings)
        elif fault == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-ClickHouse-Summary: {")
        elif fault == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif fault == "html-200":
            self._reply(200, b"<html>It works!</html>", {})
            return True
        elif fault == "error-200":
            self._reply(200, b"Code: 241. DB::Exception: Memory limit exceeded", {})
            return True
        elif fault.startswith("http-"):
            self._reply(int(fault.removeprefix("http-")), b"<html>proxy</html>", {})
            return True
        else:
            text = f"Code: {fault}. DB::Exception: as told. (FAKE)".encode()
            self._reply(500, text, {"X-ClickHouse-Exception-Code": fault})
            return True
        self.close_connection = True
        self.connection.close()
        return True

    def _read_chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("X-ClickHouse-Timezone", "UTC")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    port, data_dir = int(sys.argv[1]), Path(sys.argv[2])
    Handler.engine = Engine(data_dir)
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
