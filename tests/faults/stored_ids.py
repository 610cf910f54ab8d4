"""Print the ids in the events table, each as often as an exact query counts it.

    python -m tests.faults.stored_ids DSN

This is a process of its own, because a process can open only one directory of the embedded engine.
"""

import sys

from storage.clickhouse.client import connect
from storage.tables.schema import EVENTS_TABLE


def main() -> None:
    """Print the ids, one per line."""
    client = connect(sys.argv[1])
    for (event_id,) in client.query(f"SELECT id FROM {EVENTS_TABLE} FINAL").result_rows:
        print(event_id)


if __name__ == "__main__":
    main()
