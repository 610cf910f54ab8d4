"""Print the ids in a table, each as often as an exact query sees it; in a process of its own, since
the embedded engine takes one directory in the life of a process.

    python -m tests.faults.stored_ids DSN
"""

import sys

from storage.clickhouse.client import connect
from storage.tables.schema import EVENTS_TABLE


def main() -> None:
    client = connect(sys.argv[1])
    for (event_id,) in client.query(f"SELECT id FROM {EVENTS_TABLE} FINAL").result_rows:
        print(event_id)


if __name__ == "__main__":
    main()
