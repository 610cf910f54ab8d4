"""`give_way` lowers the priority of a thread and of the threads that it starts."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ingest.process import NICENESS, give_way

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or (os.cpu_count() or 1) == 1, reason="nothing gives way here"
)


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_a_thread_that_gives_way_and_those_it_starts_are_nice_and_no_others() -> None:
    def child() -> int:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(niceness).result()

    before = niceness()
    with ThreadPoolExecutor(1, initializer=give_way) as pool:
        assert pool.submit(niceness).result() == before + NICENESS
        assert pool.submit(child).result() == before + NICENESS
    assert niceness() == before
