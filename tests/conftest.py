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
