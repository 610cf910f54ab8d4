"""The real service as a process, on embedded storage and on a server with two workers."""

from collections.abc import Callable, Iterator

import pytest

from bench.harness.service import Service


@pytest.fixture(scope="session")
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def new_service(
    mode: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Service]]:
    """Makes services of the mode, not started, each with storage of its own."""
    clickhouse = request.getfixturevalue("clickhouse") if mode == "server" else None
    made: list[Service] = []

    def make(**environment: str) -> Service:
        arguments: tuple[str, ...] = ()
        if clickhouse is not None:
            arguments = ("--clickhouse-url", clickhouse.create_database(), "--workers", "2")
        service = Service(tmp_path_factory.mktemp("data"), *arguments, environment=environment)
        made.append(service)
        return service

    yield make
    for service in made:
        if service.running:
            service.stop()


@pytest.fixture(scope="session")
def service(new_service: Callable[..., Service]) -> Service:
    """One that runs for all tests of the mode; tests use names of events of their own."""
    service = new_service()
    service.start()
    return service
