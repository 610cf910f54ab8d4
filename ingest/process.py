"""How a worker process is tuned: allocator, garbage collector, thread priority, no pandas.

`give_way` is for threads that may wait: they must not take the cores from what clients wait for. A
single event takes the event loop and the server's threads a millisecond. With the embedded engine,
inserts, merges and the parsing of large bodies use the same cores for tens of milliseconds at a
time, and the scheduler would give all of them equal shares.
"""

import ctypes
import gc
import os
import sys
import threading
from contextlib import suppress
from importlib.abc import MetaPathFinder

NICENESS = 5
"""A third of the share of others. PERF: p99 of single events is 0.65 of what it is without.

More would be better still on a machine of one's own, but not beside programs that keep all cores
busy: with 19 nothing was stored for 8 s, and who waits for Python's lock waits for the nice one
who has it."""

_M_MMAP_THRESHOLD = -3  # malloc.h of glibc
_MAPPED_BYTES_MIN = 1024 * 1024
"""Blocks from this size on are mapped alone and unmapped when they are freed (mallopt(3)). Left to
itself glibc raises the size with each block it sees, up to 32 MiB, and the heaps grow with holes in
them. PERF: 10 to 25 % less memory under full load, at the same rate in batches of 1,000 and 9 %
less in those of 100."""

_GC_THRESHOLDS = (100_000, 20, 50)
"""PERF: a batch of 1,000 decoded events is about 20,000 tracked objects, all dead a moment later:
at the default threshold of 700 the collector walks them 30 times and finds nothing."""


def return_freed_memory() -> None:
    """Give memory that was freed back to the system.

    For the whole process, before it has threads. Does nothing with a C library other than glibc.
    """
    # Imported late: the parent process needs no Arrow.
    import pyarrow as pa

    # PERF: Arrow's own allocator keeps about 50 MB more of what was freed, and is no faster here.
    pa.set_memory_pool(pa.system_memory_pool())
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES_MIN)


def calm_garbage_collector() -> None:
    """Collect rarely, and never look again at what exists now. For the end of a start."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


class _NoPandas(MetaPathFinder):
    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is not used here", name=name)


def forbid_pandas() -> None:
    """Keep Arrow from importing pandas where it is installed.

    PERF: saves 1.5 s of every start and 36 MB of every worker.
    """
    sys.meta_path.insert(0, _NoPandas())


def give_way() -> None:
    """From now on the current thread, and those that it starts, get less of a core in demand.

    Does nothing with one core alone, or where threads have no priority of their own (on Linux they
    have).
    """
    if sys.platform == "linux" and (os.cpu_count() or 1) > 1:
        with suppress(OSError):  # where that is forbidden, all are equal
            thread = threading.get_native_id()
            niceness = os.getpriority(os.PRIO_PROCESS, thread) + NICENESS
            os.setpriority(os.PRIO_PROCESS, thread, niceness)
