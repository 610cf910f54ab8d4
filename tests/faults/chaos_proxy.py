"""A TCP proxy that drops, delays, cuts off and replays requests at random, from a seed."""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

HOST = "127.0.0.1"
ACTIONS = ("pass", "pass", "pass", "drop", "delay", "cut request", "cut reply", "replay")


class ChaosProxy:
    """The proxy. It handles one request per connection.

    Attributes:
        port: the port on which it listens.
        done: how often it did each action.
        calm: whether to forward all requests unchanged.
    """

    def __init__(self, target_port: int, seed: int) -> None:
        self._target = (HOST, target_port)
        self._rng = random.Random(seed)
        self._listener = socket.create_server((HOST, 0))
        self.port = self._listener.getsockname()[1]
        self.done: dict[str, int] = {}
        self.calm = False

    def run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            action = "pass" if self.calm else self._rng.choice(ACTIONS)
            self.done[action] = self.done.get(action, 0) + 1
            threading.Thread(target=self._serve, args=(client, action), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, client: socket.socket, action: str) -> None:
        """Handle one request, then close the connection."""
        try:
            with client:
                client.settimeout(10)
                request = _message(client)
                if action == "drop" or not request:
                    return
                if action == "delay":
                    time.sleep(self._rng.uniform(0.1, 1))
                if action == "cut request":
                    request = request[: self._rng.randrange(len(request))]
                reply = self._exchange(request, is_whole=action != "cut request")
                if action == "replay":
                    reply = self._exchange(request, is_whole=True)
                if action == "cut reply":
                    reply = reply[: self._rng.randrange(len(reply) or 1)]
                client.sendall(reply)
        except OSError:
            pass

    def _exchange(self, request: bytes, *, is_whole: bool) -> bytes:
        with socket.create_connection(self._target, timeout=10) as server:
            server.sendall(request)
            if not is_whole:
                # Not after a whole request: the server would think that nobody waits for a reply.
                server.shutdown(socket.SHUT_WR)
            return _message(server)


def _message(connection: socket.socket) -> bytes:
    """Read a whole HTTP/1.1 message. If the connection ends before, return the part read."""
    data = b""
    while True:
        head, separator, body = data.partition(b"\r\n\r\n")
        if separator:
            lower = head.lower()
            if b"transfer-encoding: chunked" in lower:
                if body.endswith(b"0\r\n\r\n"):
                    return data
            else:
                _, found, rest = lower.partition(b"content-length: ")
                if len(body) >= (int(rest.split(b"\r\n")[0]) if found else 0):
                    return data
        try:
            part = connection.recv(1 << 20)
        except OSError:
            return data
        if not part:
            return data
        data += part


@contextmanager
def chaos_proxy(target_port: int, seed: int) -> Iterator[ChaosProxy]:
    proxy = ChaosProxy(target_port, seed)
    thread = threading.Thread(target=proxy.run, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join(10)
