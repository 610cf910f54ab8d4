"""An HTTP proxy in front of a ClickHouse server. It runs in threads and forwards every request.

A subclass overrides `handle` to treat some requests differently. With a certificate the proxy uses
HTTPS, which the server itself does not support.
"""

import gzip
import http.client
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from struct import pack
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import lz4.frame

from tests.clickhouse.server import HOST, with_port

REPLY_S_MAX = 120
_DECOMPRESSORS = {"gzip": gzip.decompress, "lz4": lz4.frame.decompress}
_OF_A_CONNECTION = {"host", "connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a client, with its whole body.

    Attributes:
        method: HTTP method.
        target: path and query string.
        headers: headers of the request.
        body: the body, without chunked encoding.
    """

    method: str
    target: str
    headers: Message
    body: bytes

    @property
    def statement(self) -> bytes:
        """The SQL, which may be followed by the data of an insert."""
        query = dict(parse_qsl(urlsplit(self.target).query)).get("query", "").encode()
        decompress = _DECOMPRESSORS.get(self.headers.get("Content-Encoding", ""), bytes)
        return b"\n".join(part for part in (query, decompress(self.body)) if part)


class Exchange(BaseHTTPRequestHandler):
    """A connection of a client.

    Attributes:
        server: the listener of the proxy.
        asked: the last request on the connection.
    """

    protocol_version = "HTTP/1.1"
    server: "_Server"
    asked: Request

    def do_GET(self) -> None:
        """Read a request, and let the proxy handle it."""
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        size = int(self.headers.get("Content-Length") or 0)
        body = b"".join(self._chunks()) if chunked else self.rfile.read(size)
        self.asked = Request(self.command, self.path, self.headers, body)
        if self.server.relay.closed.is_set():
            self.end()
            return
        try:
            self.server.relay.handle(self)
        except (OSError, http.client.HTTPException):
            self.end()  # the server has closed its connection

    def do_POST(self) -> None:
        """Handle a POST like a GET."""
        self.do_GET()

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        """Send a response that does not come from the server.

        Args:
            status: HTTP status.
            body: body of the response.
            **headers: headers of the response. `_` in a name becomes `-`.
        """
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def pass_on(self, response: http.client.HTTPResponse) -> None:
        """Forward the server's response. If it is cut off, close the connection there."""
        self.send_response_only(response.status, response.reason)
        for name, value in response.headers.items():
            if name.lower() not in _OF_A_CONNECTION:
                self.send_header(name, value)
        size = response.headers.get("Content-Length")
        if size is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", size)
        self.end_headers()
        while part := response.read1(1 << 16):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if size is None else part)
        if size is None:
            self.wfile.write(b"0\r\n\r\n")
        elif response.length:
            self.end()

    def end(self, *, reset: bool = False) -> None:
        """Close the connection.

        Args:
            reset: whether to close it with a TCP RST.
        """
        self.close_connection = True
        if reset:
            self.connection.setsockopt(SOL_SOCKET, SO_LINGER, pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing."""

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()


class Relay:
    """A proxy. It is a context manager, and listens until the end of the `with` block.

    Attributes:
        closed: set at the end of the `with` block.
        port: port of the proxy.
    """

    def __init__(self, server_port: int, *, certificate: Path | None = None) -> None:
        """Bind a free port.

        Args:
            server_port: HTTP port of the server.
            certificate: PEM file with a certificate and its key, to use HTTPS.
        """
        self.closed = threading.Event()
        self._server_port = server_port
        self._scheme = "https" if certificate else "http"
        self._listener = _Server(self, certificate)
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,))
        self.port = self._listener.server_port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closed.set()
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()

    def through(self, url: str) -> str:
        """Change the URL of the server so that it goes through this proxy."""
        return urlsplit(with_port(url, self.port))._replace(scheme=self._scheme).geturl()

    def handle(self, exchange: Exchange) -> None:
        """Respond to the request `exchange.asked`: forward it to the server."""
        with self.ask(exchange.asked) as response:
            exchange.pass_on(response)

    @contextmanager
    def ask(
        self, request: Request, *, server_port: int | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request to the server, and return its response before the body is read.

        Args:
            request: the request.
            server_port: port of another server.
        """
        with self.send(request, server_port=server_port) as connection:
            yield connection.getresponse()

    @contextmanager
    def send(
        self, request: Request, *, server_port: int | None = None, bytes_max: int | None = None
    ) -> Iterator[http.client.HTTPConnection]:
        """Send a request to the server on a new connection, and return the connection.

        Args:
            request: the request.
            server_port: port of another server.
            bytes_max: how many bytes of the body are sent; None for all.
        """
        port = server_port or self._server_port
        connection = http.client.HTTPConnection(HOST, port, timeout=REPLY_S_MAX)
        try:
            connection.putrequest(request.method, request.target, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name.lower() not in _OF_A_CONNECTION:
                    connection.putheader(name, value)
            connection.putheader("Connection", "close")
            connection.putheader("Content-Length", str(len(request.body)))
            connection.endheaders(request.body[:bytes_max])
            yield connection
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, relay: Relay, certificate: Path | None) -> None:
        super().__init__((HOST, 0), Exchange)
        self.relay = relay
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            # The thread of the connection must do the handshake, not the thread that accepts.
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # the client has disconnected
            super().handle_error(request, client_address)
