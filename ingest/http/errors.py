"""One table: error class to status. Every error a client sees is made here.

The body is `{"message", "code"}`, with `errors` where single events are at fault. What is not in
the table is a bug of ours: it is logged, and the client learns only that it happened.
"""

from collections.abc import Mapping
from http import HTTPStatus

import falcon
import falcon.asgi
import structlog
from falcon.asgi import Request, Response

from ingest.errors import (
    BodyTimeoutError,
    BufferFullError,
    BusyError,
    ForbiddenError,
    HeadTooLargeError,
    KeyInUrlError,
    MediaTypeError,
    NotDurableError,
    NotStoredError,
    PayloadError,
    RateLimitError,
    RejectedError,
    ShuttingDownError,
    SilentWorkerError,
    TooLargeError,
    UnauthorizedError,
    UrlTooLongError,
)
from ingest.http.asgi import UNKNOWN_MESSAGE

STATUSES: Mapping[type[Exception], int] = {
    PayloadError: 400,
    RejectedError: 400,
    KeyInUrlError: 400,
    UnauthorizedError: 401,
    ForbiddenError: 403,
    BodyTimeoutError: 408,
    TooLargeError: 413,
    MediaTypeError: 415,
    UrlTooLongError: 414,
    RateLimitError: 429,
    HeadTooLargeError: 431,
    BufferFullError: 503,
    BusyError: 503,
    NotDurableError: 503,
    NotStoredError: 503,
    ShuttingDownError: 503,
    SilentWorkerError: 503,
}
_FALCON_MESSAGES = {
    400: "The request is not valid HTTP as this service takes it",
    404: "Nothing is served at this path: /swagger/index.html lists what is",
    405: "This path does not take this method: the Allow header lists those it takes",
}

log = structlog.get_logger()


def install(
    app: falcon.asgi.App[Request, Response], statuses: Mapping[type[Exception], int]
) -> None:
    """Make `app` answer every error as the contract says. statuses: by error class."""

    async def known(
        req: Request, resp: Response, error: Exception, params: object, **_: object
    ) -> None:
        extra = {}
        if isinstance(error, RejectedError):
            extra["errors"] = error.errors
        _answer(resp, statuses[type(error)], str(error), **extra)
        retry_after_s = getattr(error, "retry_after_s", None)
        if retry_after_s is not None:
            resp.set_header("Retry-After", str(retry_after_s))
        resp.set_headers(getattr(error, "headers", {}))

    async def of_falcon(
        req: Request, resp: Response, error: falcon.HTTPError, params: object, **_: object
    ) -> None:
        status = error.status_code
        _answer(resp, status, _FALCON_MESSAGES.get(status) or HTTPStatus(status).phrase)
        resp.set_headers(error.headers or {})

    async def unknown(
        req: Request, resp: Response, error: Exception, params: object, **_: object
    ) -> None:
        log.error("request failed", method=req.method, route=req.uri_template, exc_info=error)
        _answer(resp, 500, UNKNOWN_MESSAGE)

    app.add_error_handler(Exception, unknown)
    app.add_error_handler(falcon.HTTPError, of_falcon)
    for error_class in statuses:
        app.add_error_handler(error_class, known)


def _answer(resp: Response, status: int, message: str, **extra: object) -> None:
    # Falcon's responders may have begun a reply: none of it may remain.
    resp.data = resp.text = None
    resp.status = status
    resp.media = {"message": message, "code": status, **extra}
