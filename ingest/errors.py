"""What can be wrong with a request; `http_errors` says which status each one gets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class EventError:
    """Why one event was rejected.

    index: position in the request (0 for a single event); field: path such as
    `event_params[0].key`, empty for the event as a whole; message: for the client to read.
    """

    index: int
    field: str
    message: str


class IngestError(Exception):
    """Anything that keeps a request's events from being accepted; its text is for the client."""


class PayloadError(IngestError):
    """The body as a whole can't be used: not JSON, not the right shape, cut off."""


class RejectedError(IngestError):
    """Events of the request are invalid; nothing of it was stored."""

    def __init__(self, errors: list[EventError], rejected: int) -> None:
        """errors: at most `validate.ERRORS_MAX` of them; rejected: how many there are in all."""
        first = errors[0]
        where = f" at {first.field}" if first.field else ""
        more = f" (and {rejected - 1} more)" if rejected > 1 else ""
        super().__init__(f"Event {first.index} is invalid{where}: {first.message}{more}")
        self.errors = errors
        self.rejected = rejected


class MediaTypeError(IngestError):
    """A Content-Type or Content-Encoding that is not taken."""


class TooLargeError(IngestError):
    """More bytes or events than one request may carry."""


class UrlTooLongError(IngestError):
    """A path and query of more bytes than are read."""


class HeadTooLargeError(IngestError):
    """Headers of more bytes than are read."""


class BodyTimeoutError(IngestError):
    """The body did not arrive within its deadline."""


class BusyError(IngestError):
    """Other requests' bodies already take the memory that there is for bodies."""

    retry_after_s = 1

    def __init__(self) -> None:
        super().__init__("Too many large requests at a time: retry later")


class BufferFullError(IngestError):
    """The ring buffer has no room; the client should retry after `retry_after_s` seconds."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("The buffer is full because storage is behind: retry later")
        self.retry_after_s = retry_after_s


class NotDurableError(IngestError):
    """The write-ahead log can't be written, so nothing can be promised; retry later."""

    retry_after_s = 1

    def __init__(self) -> None:
        super().__init__("The events could not be written to disk: retry later")


class NotStoredError(IngestError):
    """The events are durable, but storage did not take them in the time that `ack=stored` waits."""

    retry_after_s = 1

    def __init__(self) -> None:
        super().__init__(
            "The events are safe, but storage has not taken them in time: retry to see if it has"
        )


class ShuttingDownError(IngestError):
    """The service is draining and takes no more events."""

    retry_after_s = 1

    def __init__(self) -> None:
        super().__init__("The service is shutting down: retry later")


class UnauthorizedError(IngestError):
    """A key is needed, and there is none, or not a valid one."""

    headers: ClassVar = {"WWW-Authenticate": 'Bearer realm="event-stream"'}

    def __init__(self) -> None:
        super().__init__("A valid key is needed, in Authorization: Bearer or in X-API-Key")


class ForbiddenError(IngestError):
    """The key is valid, and not for this."""


class KeyInUrlError(IngestError):
    """A key in the URL, which ends up in logs."""

    def __init__(self) -> None:
        super().__init__("Keys don't go into URLs: use Authorization: Bearer or X-API-Key")


class SilentWorkerError(IngestError, TimeoutError):
    """A worker of this service does not answer its siblings in time."""

    retry_after_s = 1

    def __init__(self, numbers: Sequence[int]) -> None:
        workers = ", ".join(map(str, numbers))
        super().__init__(f"Worker {workers} does not answer the others: retry later")


class RateLimitError(IngestError):
    """More than the key or the address may send; retry after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
