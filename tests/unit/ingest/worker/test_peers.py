"""Peers: the workers of a service send requests to each other."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.errors import SilentWorkerError
from ingest.worker.peers import Peers


@pytest.fixture
def directory() -> Iterator[Path]:
    # The path of a socket must be short, and tmp_path may be long.
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def worker(directory: Path, answer: str) -> Peers:
    async def reply() -> bytes:
        return answer.encode()

    async def never() -> bytes:
        await asyncio.sleep(3600)
        return b""

    return Peers(directory, {"name": reply, "never": never})


def test_every_other_living_worker_answers(directory: Path) -> None:
    async def main() -> None:
        workers = [worker(directory, name) for name in "abc"]
        for one in workers:
            await one.start()
        assert [one.number for one in workers] == [1, 2, 3]
        assert await workers[0].ask("name") == {2: b"b", 3: b"c"}
        await workers[1].close()
        assert await workers[0].ask("name") == {3: b"c"}
        successor = worker(directory, "d")
        await successor.start()
        assert successor.number == 2
        assert await workers[2].ask("name") == {1: b"a", 2: b"d"}
        for one in (workers[0], workers[2], successor):
            await one.close()

    asyncio.run(main())


def test_a_worker_that_does_not_answer_is_named(directory: Path) -> None:
    async def main() -> None:
        workers = [worker(directory, name) for name in "abc"]
        for one in workers:
            await one.start()
        with pytest.raises(SilentWorkerError, match="Worker 2, 3 does not answer"):
            await workers[0].ask("never", timeout_s=0.05)
        for one in workers:
            await one.close()

    asyncio.run(main())


def test_the_socket_of_a_dead_worker_is_ignored_and_reused(directory: Path) -> None:
    async def main() -> None:
        (directory / "1.sock").touch()
        (directory / "2.sock").touch()
        first = worker(directory, "a")
        await first.start()
        assert first.number == 1
        assert await first.ask("name") == {}
        await first.close()

    asyncio.run(main())


def test_a_worker_that_does_not_answer_in_time_is_an_error(directory: Path) -> None:
    async def main() -> None:
        workers = [worker(directory, name) for name in "ab"]
        for one in workers:
            await one.start()
        with pytest.raises(TimeoutError):
            await workers[0].ask("never", timeout_s=0.05)
        for one in workers:
            await one.close()

    asyncio.run(main())


def test_a_single_worker_has_no_peers() -> None:
    async def main() -> None:
        alone = Peers(None, {})
        await alone.start()
        assert (alone.number, await alone.ask("name")) == (1, {})
        await alone.close()

    asyncio.run(main())
