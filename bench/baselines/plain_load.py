"""ClickHouse without a service: one insert of a file of events by its own JSON reader.

    python -m bench.baselines.plain_load FILE DATA_DIR

Prints the number of events in the table and the seconds that the insert took.
"""

import sys
import time

import chdb

from bench.baselines.plain_table import CREATE_TABLE, SETTINGS


def main(file: str, data_dir: str) -> None:
    """Create the table, insert the file, and print the result."""
    connection = chdb.connect(data_dir)
    connection.query(CREATE_TABLE)
    started_s = time.perf_counter()
    connection.query(
        f"INSERT INTO events FROM INFILE '{file}' SETTINGS {SETTINGS} FORMAT JSONEachRow"
    )
    count = int(str(connection.query("SELECT count() FROM events", "TSV")))
    print(count, time.perf_counter() - started_s)


if __name__ == "__main__":
    main(*sys.argv[1:])
