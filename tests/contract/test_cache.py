"""Caches: one suite over the one in this process and the one in a real Redis."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from metrics_api.serving.cache import Cache, CachedResponse, MemoryCache
from metrics_api.serving.redis_cache import RedisCache
from storage.redis import PAUSE_S, TIMEOUT_S
from tests.contract.redis_server import RedisServer, running_redis

Make = Callable[[], Cache]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
def make(request: pytest.FixtureRequest, redis: RedisServer) -> Make:
    if request.param == "memory":
        return lambda: MemoryCache(bytes_max=10_000)
    return lambda: RedisCache(redis.url, namespace=request.node.name)


def reply(body: bytes = b"body", life_s: float = 60) -> CachedResponse:
    return CachedResponse(body, "application/json", 1_700_000_000.5, life_s)


def run(cache: Cache, test: Awaitable[None]) -> None:
    async def main() -> None:
        await test
        await cache.close()

    asyncio.run(main())


def test_what_is_kept_comes_back_as_it_was(make: Make) -> None:
    cache = make()

    async def test() -> None:
        assert await cache.get("k") is None
        await cache.put("k", reply(bytes(range(256))))
        assert await cache.get("k") == reply(bytes(range(256)))
        await cache.put("k", reply(b"newer"))
        assert await cache.get("k") == reply(b"newer")
        assert await cache.get("other") is None

    run(cache, test())


def test_what_has_lived_is_gone(make: Make) -> None:
    cache = make()

    async def test() -> None:
        await cache.put("k", reply(life_s=0.05))
        assert await cache.get("k") is not None
        await asyncio.sleep(0.1)
        assert await cache.get("k") is None

    run(cache, test())


def test_memory_is_bounded_and_what_is_used_stays() -> None:
    cache = MemoryCache(bytes_max=1_000)

    async def test() -> None:
        await cache.put("huge", reply(bytes(1_001)))
        assert await cache.get("huge") is None
        await cache.put("used", reply(bytes(300)))
        for number in range(10):
            await cache.put(str(number), reply(bytes(300)))
            assert await cache.get("used") is not None
        assert await cache.get("0") is None

    run(cache, test())


def test_services_of_other_storage_do_not_see_each_other(redis: RedisServer) -> None:
    one, other = (RedisCache(redis.url, namespace=name) for name in ("one", "other"))

    async def test() -> None:
        await one.put("k", reply())
        assert await other.get("k") is None
        await other.close()

    run(one, test())


def test_what_another_version_has_kept_is_no_answer(redis: RedisServer) -> None:
    cache = RedisCache(redis.url, namespace="versions")

    async def test() -> None:
        await cache._redis.set(cache._key("k"), b"something else")
        assert await cache.get("k") is None

    run(cache, test())


def test_without_redis_nothing_is_kept_and_nothing_fails(tmp_path: Path) -> None:
    states: list[bool] = []
    now_s = 0.0
    server = RedisServer(tmp_path)
    cache = RedisCache(server.url, namespace="n", on_state=states.append, clock=lambda: now_s)

    async def test() -> None:
        nonlocal now_s
        await cache.put("k", reply())
        assert await cache.get("k") is None
        assert states == [False]
        await asyncio.to_thread(server.start)
        await cache.put("k", reply())
        assert states == [False]  # not tried yet
        now_s += PAUSE_S
        await cache.put("k", reply())
        assert await cache.get("k") == reply()
        assert states == [False, True]
        server.stop()
        assert await cache.get("k") is None
        assert states == [False, True, False]

    run(cache, test())


def test_a_redis_that_hangs_costs_one_short_wait(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        cache = RedisCache(server.url, namespace="n")

        async def test() -> None:
            await cache.put("k", reply())
            with server.frozen():
                started_s = time.monotonic()
                for _ in range(20):
                    assert await cache.get("k") is None
                assert time.monotonic() - started_s < 4 * TIMEOUT_S

        run(cache, test())
