"""A worker that hangs is named by the others, whatever they are asked."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import urllib3

from bench.harness.service import Service
from tests.faults.harness import wait_until

# One worker has nobody to wait for.
SERVICE_MODES = ("server",)


@pytest.mark.parametrize(
    "path", ["/debug/ledger", "/metrics", "/events/names", "/events/names?consistency=flushed"]
)
def test_a_worker_that_hangs_is_named(silenced: Service, path: str) -> None:
    def ask(_: int) -> tuple[int, str] | None:
        """None when the connection is to the worker that hangs."""
        with urllib3.PoolManager(retries=False, timeout=7) as http:
            try:
                reply = http.request("GET", silenced.url + path)
            except urllib3.exceptions.TimeoutError:
                return None
            return reply.status, reply.json()["message"]

    with ThreadPoolExecutor(16) as threads:
        answers = {answer for answer in threads.map(ask, range(16)) if answer is not None}
    [(status, message)] = answers
    assert status == 503
    assert message in [f"Worker {n} does not answer the others: retry later" for n in (1, 2)]


@pytest.fixture(scope="module")
def silenced(new_service: Callable[..., Service]) -> Service:
    service = new_service(EVENT_STREAM_QUERY__FLUSH_SECONDS="4")
    service.start()
    # The one that is to answer must be up, too.
    wait_until(lambda: len(service.request("GET", "/debug/ledger").json()["workers"]) == 2)
    worker = service.processes.pids()[-1]
    os.kill(worker, signal.SIGSTOP)
    request_stop = service.stop

    def stop() -> int:
        os.kill(worker, signal.SIGCONT)
        return request_stop()

    service.stop = stop  # type: ignore[method-assign]
    return service
