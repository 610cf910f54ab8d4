"""Threads that give way: what may wait must not take the cores from what clients wait for.

A single event is answered by the event loop and the server's threads in a millisecond of work. With
the embedded engine, that engine's inserts and merges and the parsing of large bodies are on the
same cores, for tens of milliseconds at a time. The scheduler would give them equal shares.
"""

import os
import sys
import threading
from contextlib import suppress

NICENESS = 5
"""A third of the share of others. PERF: p99 of single events is 0.65 of what it is without.

More would be better still on a machine of one's own, but not beside programs that keep all cores
busy: with 19 nothing was stored for 8 s, and who waits for Python's lock waits for the nice one
who has it."""


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
