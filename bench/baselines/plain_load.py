"""ClickHouse alone: one insert of a file of events by its own JSON reader.

    python -m bench.plain_load FILE DATA_DIR

Prints the events in the table and the seconds that it took.
"""

import sys
import time

import chdb

from bench.baselines.plain_table import CREATE_TABLE, SETTINGS


def main(file: str, data_dir: str) -> None:
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
