"""The versions that are said to be tested are those that the tests run on."""

import re
from collections.abc import Callable
from pathlib import Path

from clickhouse_connect.driver.client import Client

from storage.clickhouse.versions import NEWEST_TESTED, OLDEST
from tests.clickhouse.engine import ENGINE, release

CI = Path(__file__).parents[2] / ".ci" / "run"


def test_this_run_is_on_the_engine_that_it_is_for(connected: Callable[[], Client]) -> None:
    """Which is NEWEST_TESTED, unless CHDB_ENGINE names another."""
    assert release(str(connected().command("SELECT version()"))) == ENGINE


def test_ci_also_runs_on_the_oldest_version_that_is_taken() -> None:
    others = [release(text) for text in re.findall(r"CHDB_ENGINE=([\d.]+)", CI.read_text())]
    assert min(others) == OLDEST
    assert max(others) < NEWEST_TESTED
