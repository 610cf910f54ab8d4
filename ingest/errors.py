"""The errors of a request. `ingest.http.errors` maps each one to an HTTP status."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class EventError:
    """Why one event was rejected.

    Attributes:
        index: position of the event in the request; 0 for a single event.
        field: path of the field, such as `event_params[0].key`; empty for the whole event.
        message: text for the client.
    """

    index: int
    field: str
    message: str


class IngestError(Exception):
    """A request whose events are not accepted. The client sees the text."""


class PayloadError(IngestError):
    """The body is not JSON, has the wrong shape, or is cut off."""


class RejectedError(IngestError):
    """The request has invalid events. None of its events was stored."""

    def __init__(self, errors: list[EventError], rejected: int) -> None:
        """Name the first invalid event, and how many more there are.

        Args:
            errors: one for each invalid event, at most `validation.ERRORS_MAX`; not empty.
            rejected: number of all invalid events.
        """
        first = errors[0]
        where = f" at {first.field}" if first.field else ""
        more = f" (and {rejected - 1} more)" if rejected > 1 else ""
        super().__init__(f"Event {first.index} is invalid{where}: {first.message}{more}")
        self.errors = errors
        self.rejected = rejected


class MediaTypeError(IngestError):
    """The Content-Type or the Content-Encoding is not supported."""


class TooLargeError(IngestError):
    """The request has more bytes or events than one request may have."""


class UrlTooLongError(IngestError):
    """The path and the query have more bytes than the service reads."""


class HeadTooLargeError(IngestError):
    """The headers have more bytes than the service reads."""


class BodyTimeoutError(IngestError):
    """The body did not arrive within its deadline."""


class BusyError(IngestError):
    """The bodies of other requests use all memory that is reserved for bodies."""

    retry_after_s = 1

    def __init__(self) -> None:
        """Ask the client to retry."""
        super().__init__("Too many large requests at a time: retry later")


class BufferFullError(IngestError):
    """The ring buffer or the WAL has no room, or too much waits for a slow disk."""

    def __init__(self, retry_after_s: int) -> None:
        """Ask the client to retry after `retry_after_s` seconds."""
        super().__init__("The buffer is full because storage is behind: retry later")
        self.retry_after_s = retry_after_s


class NotDurableError(IngestError):
    """The WAL can't be written, so the events are not acknowledged."""

    retry_after_s = 1

    def __init__(self) -> None:
        """Ask the client to retry."""
        super().__init__("The events could not be written to disk: retry later")


class NotStoredError(IngestError):
    """The events were accepted, but not stored in the time that `ack=stored` waits."""

    retry_after_s = 1

    def __init__(self) -> None:
        """Ask the client to send the request again, which tells whether the events are stored."""
        super().__init__(
            "The events were accepted, but were not stored in time:"
            " send the request again to see whether they are stored now"
        )


class ShuttingDownError(IngestError):
    """The service is draining and accepts no more events."""

    retry_after_s = 1

    def __init__(self) -> None:
        """Ask the client to retry."""
        super().__init__("The service is shutting down: retry later")


class UnauthorizedError(IngestError):
    """The request needs a key and has no valid one."""

    headers: ClassVar = {"WWW-Authenticate": 'Bearer realm="event-stream"'}

    def __init__(self) -> None:
        """Name the headers that may carry a key."""
        super().__init__("A valid key is needed, in Authorization: Bearer or in X-API-Key")


class ForbiddenError(IngestError):
    """The key is valid but does not allow this request."""


class KeyInUrlError(IngestError):
    """The URL has a key. URLs end up in logs, so keys must not be in them."""

    def __init__(self) -> None:
        """Name the headers that may carry a key."""
        super().__init__("Keys don't go into URLs: use Authorization: Bearer or X-API-Key")


class SilentWorkerError(IngestError, TimeoutError):
    """Some workers of this service did not answer the other workers in time."""

    retry_after_s = 1

    def __init__(self, numbers: Sequence[int]) -> None:
        """Name the silent workers by their numbers."""
        workers = ", ".join(map(str, numbers))
        super().__init__(f"Worker {workers} does not answer the others: retry later")


class RateLimitError(IngestError):
    """The key or the address has sent more than its rate limit allows."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        """Ask the client to retry after `retry_after_s` seconds."""
        super().__init__(message)
        self.retry_after_s = retry_after_s
