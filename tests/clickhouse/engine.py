"""The release of ClickHouse that the tests run on: that of uv.lock, or the one in CHDB_ENGINE.

CHDB_ENGINE does not install an engine. It names the engine that `uv run --with` has installed.
"""

import os

from storage.clickhouse.versions import NEWEST_TESTED


def release(version: str) -> tuple[int, int]:
    """Return the release of a version: (26, 9) for 26.9.2.1."""
    year, month = version.split(".")[:2]
    return int(year), int(month)


ENGINE = release(os.environ["CHDB_ENGINE"]) if "CHDB_ENGINE" in os.environ else NEWEST_TESTED
CAN_BE_A_SERVER = ENGINE >= (26, 6)
"""Whether the engine of the wheel has `SYSTEM START LISTEN`."""
