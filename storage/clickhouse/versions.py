"""The versions of ClickHouse that are tested, and those that are refused."""

import re

from storage.errors import PausedError

OLDEST = (25, 8)
"""Oldest supported release. The contract tests also run on its embedded engine."""
NEWEST_TESTED = (26, 9)
"""Release of the embedded engine, on which all tests run."""


def check_version(version: str, address: str) -> None:
    """Check that a server is not too old.

    Args:
        version: version of the server, such as 26.9.2.1.
        address: address of the server, for the message.

    Raises:
        PausedError: the server is older than the oldest supported release.
    """
    if _release(version) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise PausedError(
            f"ClickHouse at {address} is version {version}: upgrade it to {oldest} or newer"
        )


def is_untested(version: str) -> bool:
    """Return whether `version` is newer than the newest tested release."""
    return _release(version) > NEWEST_TESTED


def _release(version: str) -> tuple[int, int]:
    release = re.match(r"(\d+)\.(\d+)", version)
    return (int(release[1]), int(release[2])) if release else (0, 0)
