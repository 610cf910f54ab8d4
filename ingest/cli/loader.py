"""Send a file of events to a service, some requests at a time.

Resumable: a request carries an Idempotency-Key made from its place in the file and its bytes, so
that events without an id get the same one when the file is loaded again in batches of the same
size, and are counted once.
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
    """Loading stopped; the text says where and why."""


@dataclass(slots=True)
class Loaded:
    """Events so far. accepted: duplicates included."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0


class Loader:
    def __init__(self, url: str, *, requests: int, partial: bool, key: str | None = None) -> None:
        """url: of the service; requests: how many at a time; partial: go on after bad events; key:
        of scope ingest, where the service needs one."""
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
                allowed_methods=None,  # sending again is safe: that is what ids are for
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
        """Send every batch, each a list of events as JSON texts. Raises LoadError.

        progress: called after each reply.
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
        """first: position of the batch's first event in the file."""
        body = b"\n".join(batch)
        key = blake2b(b"%d\n" % first + body, digest_size=16).hexdigest()
        headers = {**self._headers, "Idempotency-Key": key}
        try:
            reply = self._pool.request("POST", self._url, body=body, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise LoadError(f"No answer from {self._url}: {error}") from error
        answer = _json_object(reply.data)
        if reply.status == 400 and self._partial and answer.get("errors"):
            return Loaded(rejected=len(batch))  # none of it was good
        if reply.status not in (201, 207):
            raise LoadError(_refusal(reply.status, answer, first))
        rejected = len(answer.get("rejected", ()))
        return Loaded(len(answer["ids"]) - rejected, answer.get("duplicates", 0), rejected)


def _raise_first(done: set[Future[None]]) -> None:
    for future in done:
        future.result()


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _refusal(status: int, answer: dict[str, Any], first: int) -> str:
    if answer.get("errors"):
        error = answer["errors"][0]
        where = f" at {error['field']}" if error["field"] else ""
        number = first + error["index"] + 1
        return (
            f"Event {number} of the file is invalid{where}: {error['message']}."
            " Correct it and load the file again, or skip bad events with --partial"
        )
    return f"The service answered {status}: {answer.get('message', '')}"
