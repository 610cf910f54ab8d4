"""Which release of ClickHouse the tests run on: that of uv.lock, or the one in CHDB_ENGINE.

CHDB_ENGINE does not install an engine. It says which one `uv run --with` has installed.
"""

import os

from storage.clickhouse.versions import NEWEST_TESTED


def release(version: str) -> tuple[int, int]:
    """(26, 9) of 26.9.2.1."""
    year, month = version.split(".")[:2]
    return int(year), int(month)


ENGINE = release(os.environ["CHDB_ENGINE"]) if "CHDB_ENGINE" in os.environ else NEWEST_TESTED
CAN_BE_A_SERVER = ENGINE >= (26, 6)
"""Before, the wheel's engine had no `SYSTEM START LISTEN`."""
