"""Hypothesis profiles: the default for every run, `--hypothesis-profile=long` for a night.

Tests of a service run in both of its modes, unless their module says in which: `SERVICE_MODES`.
"""

import pytest
from hypothesis import HealthCheck, settings

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
