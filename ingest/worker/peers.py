"""Communication between the worker processes of one service.

Every worker listens on a Unix socket in a shared directory, and replies to requests of one line. A
worker asks all its peers, so that its response to a client covers the whole service. A service with
one worker has no such directory.

Each worker has a number: the lowest number that no living worker has. A file lock marks a number as
taken. The lock of a killed worker is free, so its successor gets the same number.
"""

import asyncio
import fcntl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import IO

from ingest.errors import SilentWorkerError

Handlers = Mapping[str, Callable[[], Awaitable[bytes]]]

ASK_TIMEOUT_S = 5.0


class Peers:
    """This worker's connection to its peers.

    Attributes:
        number: the number of this worker.
    """

    def __init__(self, directory: Path | None, handlers: Handlers) -> None:
        """Set the directory and the handlers. `start` takes the number.

        Args:
            directory: the directory that the workers share; None for one worker.
            handlers: handlers by request.
        """
        self._directory = directory
        self._handlers = handlers
        self._lock: IO[bytes] | None = None
        self._server: asyncio.Server | None = None
        self.number = 1

    async def start(self) -> None:
        """Take a number, and start to reply to requests."""
        if self._directory is None:
            return
        while not self._take_number(self._directory):
            self.number += 1
        path = self._socket(self.number)
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, path)

    async def close(self) -> None:
        """Stop replying, and free the number."""
        if self._server is not None:
            self._server.close()
            self._socket(self.number).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()

    async def ask(self, request: str, *, timeout_s: float = ASK_TIMEOUT_S) -> dict[int, bytes]:
        """Send a request to all other living workers.

        Args:
            request: the request, one line.
            timeout_s: how long all workers together may take, in seconds.

        Returns:
            The reply of each worker, by its number.

        Raises:
            SilentWorkerError: a worker did not reply in time.
        """
        if self._directory is None:
            return {}
        others = [int(path.stem) for path in self._directory.glob("*.sock")]
        others = [number for number in others if number != self.number]
        asking = {n: asyncio.ensure_future(self._ask(n, request)) for n in others}
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*asking.values())
        except TimeoutError as error:
            silent = [number for number, task in asking.items() if task.cancelled()]
            raise SilentWorkerError(silent) from error
        replies = {number: task.result() for number, task in asking.items()}
        return {number: reply for number, reply in replies.items() if reply is not None}

    async def ask_all(self, request: str) -> dict[int, bytes]:
        """Send a request to all living workers, including this one.

        Returns:
            The reply of each worker, by its number.

        Raises:
            SilentWorkerError: a worker did not reply in time.
        """
        return {self.number: await self._handlers[request](), **await self.ask(request)}

    def _take_number(self, directory: Path) -> bool:
        lock = (directory / f"{self.number}.lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._lock = lock
        return True

    def _socket(self, number: int) -> Path:
        assert self._directory is not None
        return self._directory / f"{number}.sock"

    async def _ask(self, number: int, request: str) -> bytes | None:
        """Return the reply of one worker, or None if the worker is dead.

        A dead worker has nothing in memory that its reply would have to cover.
        """
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket(number))
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        try:
            writer.write(request.encode() + b"\n")
            reply = await reader.read(-1)
        except ConnectionError:
            return None
        finally:
            writer.close()
        return reply or None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            handler = self._handlers.get((await reader.readline()).decode().strip())
            if handler is not None:
                writer.write(await handler())
                await writer.drain()
        except ConnectionError:
            pass  # the peer gave up
        finally:
            writer.close()
