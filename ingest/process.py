"""Tuning of a worker process: allocator, garbage collector, thread priorities, no pandas.

Background threads call `give_way`, so that they do not slow down requests. The event loop and the
server's threads need one millisecond for a single event. With the embedded engine, inserts, merges
and the parsing of large bodies use the same cores for tens of milliseconds at a time. Without
priorities the scheduler would give all these threads equal shares.
"""

import ctypes
import gc
import os
import sys
import threading
from contextlib import suppress
from importlib.abc import MetaPathFinder

NICENESS = 5
"""Added to a thread's nice value. The thread then gets a third of the CPU share of others.

PERF: the p99 of single events falls to 0.65 of its value without. A higher niceness is better on a
machine that runs only the service, and harmful beside programs that keep all cores busy: with 19
nothing was stored for 8 s. Threads that need the GIL must wait for the nice thread that holds it.
"""

_M_MMAP_THRESHOLD = -3  # malloc.h of glibc
_MAPPED_BYTES_MIN = 1024 * 1024
"""Blocks of at least this size get a mapping of their own, which is unmapped when they are freed.

See mallopt(3). By default glibc raises this size with the blocks that it sees, up to 32 MiB. The
heaps then grow and become fragmented. PERF: 10 to 25 % less memory under full load. The throughput
is the same with batches of 1,000 events and 9 % lower with batches of 100.
"""

_GC_THRESHOLDS = (100_000, 20, 50)
"""PERF: a batch of 1,000 decoded events is about 20,000 tracked objects that are soon freed.

With the default threshold of 700 the collector scans them 30 times and finds nothing.
"""


def return_freed_memory() -> None:
    """Make the allocators return freed memory to the operating system.

    Applies to the whole process. Call it before the process has threads. A C library other than
    glibc keeps its own behavior.
    """
    # Imported late because the parent process must not load Arrow.
    import pyarrow as pa

    # PERF: Arrow's own allocator keeps about 50 MB more freed memory and is no faster here.
    pa.set_memory_pool(pa.system_memory_pool())
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES_MIN)


def calm_garbage_collector() -> None:
    """Collect garbage rarely, and never scan the objects that exist now.

    Call it at the end of the start, when the long-lived objects exist.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


class _NoPandas(MetaPathFinder):
    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is not used here", name=name)


def forbid_pandas() -> None:
    """Prevent Arrow from importing pandas if pandas is installed.

    PERF: saves 1.5 s at every start and 36 MB in every worker.
    """
    sys.meta_path.insert(0, _NoPandas())


def give_way() -> None:
    """Lower the priority of the current thread and of the threads that it starts later.

    Does nothing on a machine with one core, and on systems other than Linux, where threads have no
    priority of their own.
    """
    if sys.platform == "linux" and (os.cpu_count() or 1) > 1:
        with suppress(OSError):  # a system that forbids this keeps equal priorities
            thread = threading.get_native_id()
            niceness = os.getpriority(os.PRIO_PROCESS, thread) + NICENESS
            os.setpriority(os.PRIO_PROCESS, thread, niceness)
