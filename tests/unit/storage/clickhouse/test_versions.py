"""Which versions of ClickHouse are taken."""

import pytest

from storage.clickhouse.versions import check_version, is_untested
from storage.errors import PausedError


@pytest.mark.parametrize("version", ["20.3.1.1", "25.7.9.1", "24.12.1.1", "nonsense", ""])
def test_an_old_server_is_refused_and_told_what_it_needs(version: str) -> None:
    with pytest.raises(PausedError, match=r"http://c:1 is version .*: upgrade it to 25\.8"):
        check_version(version, "http://c:1")


@pytest.mark.parametrize("version", ["25.8.2.1", "25.10.1.1", "26.9.2.1", "26.10.1", "27.1.1.1"])
def test_a_newer_server_is_taken(version: str) -> None:
    check_version(version, "http://c:1")
    assert is_untested(version) == (version in ("26.10.1", "27.1.1.1"))
