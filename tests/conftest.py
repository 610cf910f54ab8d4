"""Hypothesis profiles: the default for every run, `--hypothesis-profile=long` for a night.

Tests of a service run in both of its modes, unless their module says in which: `SERVICE_MODES`.
"""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.clickhouse.engine import CAN_BE_A_SERVER
from tests.clickhouse.server import ClickHouse, running_clickhouse

settings.register_profile(
    "default", max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "long", max_examples=20_000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("default")


SLOW_FIRST = (
    "tests/contract/test_cluster.py",
    "tests/end_to_end/test_openapi.py",
    "tests/end_to_end/test_lifecycle.py",
    "tests/faults/test_environment.py",
    "tests/faults/test_kill.py",
    "tests/contract/test_query_results.py",
    "tests/faults",
    "tests/end_to_end",
    "tests/deploy",
    "tests/contract",
    "tests/property",
)
"""Files, and folders, by the time that they take: a slow one at the end keeps one core idle."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the tests of slow files first; pytest-xdist gives files to its workers in this order."""

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(config.rootpath).as_posix()
        slow = [n for n, start in enumerate(SLOW_FIRST) if path.startswith(start)]
        return slow[0] if slow else len(SLOW_FIRST)

    items.sort(key=rank)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "mode" in metafunc.fixturenames:
        modes = getattr(metafunc.module, "SERVICE_MODES", ("embedded", "server"))
        metafunc.parametrize("mode", modes, indirect=True, scope="session")


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """A server that runs for all tests; each makes a database of its own and never stops it."""
    assert CAN_BE_A_SERVER, "this engine has no listeners: leave out the tests of a server"
    with running_clickhouse(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server
