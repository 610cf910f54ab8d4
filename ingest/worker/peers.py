"""The worker processes of one service, asking each other.

Every worker listens on a Unix socket in a directory that they share, and answers one-line
questions: a question goes to all the others, so that an answer to a client speaks for the service
and not for the worker that the client happened to reach. A worker without a directory is alone.

A worker's number is the lowest that no living worker has; a lock tells, so that a killed worker's
number is free again and its successor goes by the same.
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
    def __init__(self, directory: Path | None, handlers: Handlers) -> None:
        """directory: shared by the workers, None for one worker; handlers: by question."""
        self._directory = directory
        self._handlers = handlers
        self._lock: IO[bytes] | None = None
        self._server: asyncio.Server | None = None
        self.number = 1

    async def start(self) -> None:
        """Take a number and answer questions."""
        if self._directory is None:
            return
        while not self._take_number(self._directory):
            self.number += 1
        path = self._socket(self.number)
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, path)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._socket(self.number).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()

    async def ask(self, question: str, *, timeout_s: float = ASK_TIMEOUT_S) -> dict[int, bytes]:
        """The answers of all other workers that are alive, by their number.

        Raises SilentWorkerError when one of them does not answer in time.
        """
        if self._directory is None:
            return {}
        others = [int(path.stem) for path in self._directory.glob("*.sock")]
        others = [number for number in others if number != self.number]
        asking = {n: asyncio.ensure_future(self._ask(n, question)) for n in others}
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*asking.values())
        except TimeoutError as error:
            silent = [number for number, task in asking.items() if task.cancelled()]
            raise SilentWorkerError(silent) from error
        answers = {number: task.result() for number, task in asking.items()}
        return {number: answer for number, answer in answers.items() if answer is not None}

    async def ask_all(self, question: str) -> dict[int, bytes]:
        """The answers of every worker, this one included, by their number.

        Raises SilentWorkerError when one of them does not answer in time.
        """
        return {self.number: await self._handlers[question](), **await self.ask(question)}

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

    async def _ask(self, number: int, question: str) -> bytes | None:
        """None when the worker is dead: whatever it had in memory is gone with it."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket(number))
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        try:
            writer.write(question.encode() + b"\n")
            answer = await reader.read(-1)
        except ConnectionError:
            return None
        finally:
            writer.close()
        return answer or None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            handler = self._handlers.get((await reader.readline()).decode().strip())
            if handler is not None:
                writer.write(await handler())
                await writer.drain()
        except ConnectionError:
            pass  # the one who asked gave up
        finally:
            writer.close()
