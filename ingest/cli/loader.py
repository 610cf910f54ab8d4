"""Send the events of a file to a service, with several requests at a time.

Loading can be repeated. The Idempotency-Key of a request is made from its position in the file and
its content. So an event without an id gets the same id when the file is loaded again with the same
batch size, and it is counted once.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
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


@dataclass(frozen=True, slots=True)
class Body:
    """The events of one request.

    Attributes:
        data: the bytes to send.
        media_type: their Content-Type.
        first: position of the first event in the file, from 0.
        count: number of events.
        key: the Idempotency-Key.
        noun: what an event is called in an error.
    """

    data: bytes
    media_type: str
    first: int
    count: int
    key: str
    noun: str = "Event"

    @property
    def end(self) -> int:
        """The position after the last event."""
        return self.first + self.count


def idempotency_key(first: int, content: Iterable[bytes | memoryview]) -> str:
    """Return the key of a request.

    Args:
        first: position of its first event in the file.
        content: its events, as bytes that are the same whenever the file is read.
    """
    digest = blake2b(b"%d\n" % first, digest_size=16)
    for part in content:
        digest.update(part)
    return digest.hexdigest()


@dataclass(slots=True)
class Loaded:
    """Numbers of events so far; `accepted` includes duplicates.

    Attributes:
        accepted: stored now or before.
        duplicates: stored before.
        rejected: invalid, and skipped.
        complete: so many events from the start of the file have their reply, without a gap.
    """

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    complete: int = 0


class _Retry(urllib3.Retry):
    """Retries that end early when loading stops."""

    def __init__(self, total: int, *, stopping: threading.Event, **options: Any) -> None:
        super().__init__(total, **options)
        self._stopping = stopping

    def new(self, **options: Any) -> "_Retry":
        return super().new(stopping=self._stopping, **options)

    def sleep(self, response: urllib3.BaseHTTPResponse | None = None) -> None:
        asked = self.get_retry_after(response) if response is not None else None
        if self._stopping.wait(asked or self.get_backoff_time()):
            raise LoadError("Loading stops")


class Loader:
    """Sends batches of events to a service, and retries."""

    def __init__(
        self, url: str, loaded: Loaded, *, requests: int, partial: bool, key: str | None = None
    ) -> None:
        """Prepare the connections.

        Args:
            url: of the service.
            loaded: how far the file was loaded before; updated after each response.
            requests: number of requests at a time.
            partial: whether to skip invalid events, or else to stop at the first one.
            key: an API key of scope ingest, if the service needs one.
        """
        self._loaded = loaded
        self._ends: dict[int, int] = {}  # of the bodies after a gap, by their first positions
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._url = url.rstrip("/") + "/v1/events/batch" + ("?partial=true" if partial else "")
        self._requests = requests
        self._partial = partial
        self._pool = urllib3.PoolManager(
            maxsize=requests,
            timeout=TIMEOUT_S,
            retries=_Retry(
                RETRIES,
                stopping=self._stopping,
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
        self, bodies: Iterator[Body], progress: Callable[[Loaded], None] = lambda _: None
    ) -> None:
        """Send every body.

        Args:
            bodies: in the order of the file, without gaps.
            progress: called with the numbers so far after each response.

        Raises:
            LoadError: the service does not answer, or refuses a request.
        """
        pending: set[Future[None]] = set()
        with ThreadPoolExecutor(self._requests) as threads:
            try:
                for body in bodies:
                    pending.add(threads.submit(self._load_one, body, progress))
                    while len(pending) > self._requests:
                        done, pending = wait(pending, return_when=FIRST_COMPLETED)
                        _raise_first(done)
                _raise_first(wait(pending).done)
            except BaseException:
                self._stopping.set()  # what was sent gets its reply, nothing is sent again
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def _load_one(self, body: Body, progress: Callable[[Loaded], None]) -> None:
        sent = self._send(body)
        with self._lock:
            total = self._loaded
            total.accepted += sent.accepted
            total.duplicates += sent.duplicates
            total.rejected += sent.rejected
            self._ends[body.first] = body.end
            while total.complete in self._ends:
                total.complete = self._ends.pop(total.complete)
            progress(total)

    def _send(self, body: Body) -> Loaded:
        headers = {**self._headers, "Content-Type": body.media_type, "Idempotency-Key": body.key}
        try:
            response = self._pool.request("POST", self._url, body=body.data, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise LoadError(
                f"{self._url} does not answer: {error}. Check --url, and that the service runs"
            ) from error
        receipt = _json_object(response.data)
        if response.status == 400 and self._partial and receipt.get("errors"):
            return Loaded(rejected=body.count)  # all events of the batch are invalid
        if response.status not in (201, 207):
            raise LoadError(_refusal(response.status, receipt, body))
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


def _refusal(status: int, receipt: dict[str, Any], body: Body) -> str:
    if receipt.get("errors"):
        error = receipt["errors"][0]
        where = f" at {error['field']}" if error["field"] else ""
        number = body.first + error["index"] + 1
        return (
            f"{body.noun} {number:,} of the file is invalid{where}: {error['message']}."
            " Correct it and load the file again, or skip invalid events with --partial"
        )
    return f"The service refused the events with {status}: {receipt.get('message', '')}"
