"""Threads that give way: what may wait must not take the cores from what clients wait for.

A single event is answered by the event loop and the server's threads in a millisecond of work. With
the embedded engine, that engine's inserts and merges and the parsing of large bodies are on the
same cores, for tens of milliseconds at a time. The scheduler would give them equal shares.
"""

import os
import sys
import threading
from contextlib import suppress

NICENESS = 19
"""PERF: with 10 the slowest percent of single events took twice as long."""


def give_way() -> None:
    """From now on the current thread, and those that it starts, run when others leave a core.

    They are not starved: the event loop, which goes first, is one thread. So with one core alone
    nothing is done, and neither where a thread has no priority of its own (it has on Linux).
    """
    if sys.platform == "linux" and (os.cpu_count() or 1) > 1:
        with suppress(OSError):  # where that is forbidden, all are equal
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
