"""Send a file of events to a service, with several requests at a time.

Loading can be repeated. The Idempotency-Key of a request is made from its position in the file and
its bytes. So an event without an id gets the same id when the file is loaded again with the same
batch size, and it is counted once.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson
import urllib3

RETRIES = 20
BACKOFF_S_MAX = 10
TIMEOUT_S = 60


class LoadError(Exception):
    """Loading stopped. The text says where and why."""


@dataclass(slots=True)
class Loaded:
    """Numbers of events so far; `accepted` includes duplicates."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0


class Loader:
    """Sends batches of events to a service, and retries."""

    def __init__(self, url: str, *, requests: int, partial: bool, key: str | None = None) -> None:
        """Prepare the connections.

        Args:
            url: of the service.
            requests: number of requests at a time.
            partial: whether to skip invalid events, or else to stop at the first one.
            key: an API key of scope ingest, if the service needs one.
        """
        self._headers = {"Content-Type": "application/x-ndjson"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"
        self._url = url.rstrip("/") + "/v1/events/batch" + ("?partial=true" if partial else "")
        self._requests = requests
        self._partial = partial
        self._pool = urllib3.PoolManager(
            maxsize=requests,
            timeout=TIMEOUT_S,
            retries=urllib3.Retry(
                RETRIES,
                redirect=0,
                allowed_methods=None,  # POST too: ids make a retry safe
                status_forcelist=(429, 502, 503, 504),
                backoff_factor=0.2,
                backoff_max=BACKOFF_S_MAX,
                backoff_jitter=0.2,
                raise_on_status=False,
            ),
        )

    def load(
        self, batches: Iterator[list[bytes]], progress: Callable[[Loaded], None] = lambda _: None
    ) -> Loaded:
        """Send every batch.

        Args:
            batches: lists of events as JSON texts.
            progress: called with the numbers so far after each response.

        Raises:
            LoadError: the service does not answer, or refuses a request.
        """
        total = Loaded()
        lock = threading.Lock()

        def send(first: int, batch: list[bytes]) -> None:
            loaded = self._send(first, batch)
            with lock:
                total.accepted += loaded.accepted
                total.duplicates += loaded.duplicates
                total.rejected += loaded.rejected
                progress(total)

        pending: set[Future[None]] = set()
        sent = 0
        with ThreadPoolExecutor(self._requests) as threads:
            for batch in batches:
                pending.add(threads.submit(send, sent, batch))
                sent += len(batch)
                while len(pending) > self._requests:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    _raise_first(done)
            _raise_first(wait(pending).done)
        return total

    def _send(self, first: int, batch: list[bytes]) -> Loaded:
        """Send one batch, whose first event is at position `first` in the file."""
        body = b"\n".join(batch)
        key = blake2b(b"%d\n" % first + body, digest_size=16).hexdigest()
        headers = {**self._headers, "Idempotency-Key": key}
        try:
            response = self._pool.request("POST", self._url, body=body, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise LoadError(
                f"{self._url} does not answer: {error}. Check --url, and that the service runs"
            ) from error
        receipt = _json_object(response.data)
        if response.status == 400 and self._partial and receipt.get("errors"):
            return Loaded(rejected=len(batch))  # all events of the batch are invalid
        if response.status not in (201, 207):
            raise LoadError(_refusal(response.status, receipt, first))
        rejected = len(receipt.get("rejected", ()))
        return Loaded(
            accepted=len(receipt["ids"]) - rejected,
            duplicates=receipt.get("duplicates", 0),
            rejected=rejected,
        )


def _raise_first(done: set[Future[None]]) -> None:
    for future in done:
        future.result()


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _refusal(status: int, receipt: dict[str, Any], first: int) -> str:
    if receipt.get("errors"):
        error = receipt["errors"][0]
        where = f" at {error['field']}" if error["field"] else ""
        number = first + error["index"] + 1
        return (
            f"Event {number} of the file is invalid{where}: {error['message']}."
            " Correct it and load the file again, or skip invalid events with --partial"
        )
    return f"The service refused the events with {status}: {receipt.get('message', '')}"
