"""ClickHouse without a service: one insert of a file of events by its own JSON reader.

    python -m bench.baselines.plain_load FILE PLACE

PLACE is a data directory for the embedded engine, or the URL of a database on a server. Prints four
numbers: events in the table, seconds that the insert took, CPU seconds of this process meanwhile,
and the peak of its memory in bytes.
"""

import os
import sys
import time
from pathlib import Path

from bench.baselines.plain_engine import open_engine
from bench.harness.processes import Processes


def main(file: str, place: str) -> None:
    """Create the table, insert the file, and print the result."""
    engine = open_engine(place)
    started_s, cpu_s = time.perf_counter(), time.process_time()
    engine.insert_file(Path(file))
    count = engine.count()
    seconds, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    print(count, seconds, cpu_s, Processes(os.getpid()).rss_peak_bytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
