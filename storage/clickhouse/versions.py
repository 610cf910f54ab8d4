"""Which ClickHouse we speak to: what our tests run on, and what is refused."""

import re

from storage.errors import PausedError

OLDEST = (25, 8)
"""Every statement of ours runs on it: the contract tests do so on its engine."""
NEWEST_TESTED = (26, 9)
"""The embedded engine, and the server of the tests."""


def check_version(version: str, address: str) -> None:
    """Raises PausedError when a server of `version`, such as 26.9.2.1, is too old."""
    if _release(version) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise PausedError(
            f"ClickHouse at {address} is version {version}: upgrade it to {oldest} or newer"
        )


def is_untested(version: str) -> bool:
    """Whether it is newer than what the tests run on."""
    return _release(version) > NEWEST_TESTED


def _release(version: str) -> tuple[int, int]:
    release = re.match(r"(\d+)\.(\d+)", version)
    return (int(release[1]), int(release[2])) if release else (0, 0)
