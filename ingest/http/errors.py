"""The HTTP status of each error class, and the response body of every error.

The body is `{"message", "code"}`, with `errors` if single events are invalid. An error whose class
is not in the table is a bug: it is logged, and the client gets a 500 without details.
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
    400: "The request is not HTTP that this service supports",
    404: "There is nothing at this path: /swagger/index.html lists all paths",
    405: "This path does not support this method: the Allow header lists the methods it supports",
}

log = structlog.get_logger()


def install(
    app: falcon.asgi.App[Request, Response], statuses: Mapping[type[Exception], int]
) -> None:
    """Add handlers for all errors to `app`.

    Args:
        app: the Falcon app.
        statuses: HTTP status by error class.
    """

    async def handle_known(
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

    async def handle_falcon(
        req: Request, resp: Response, error: falcon.HTTPError, params: object, **_: object
    ) -> None:
        status = error.status_code
        _answer(resp, status, _FALCON_MESSAGES.get(status) or HTTPStatus(status).phrase)
        resp.set_headers(error.headers or {})

    async def handle_unknown(
        req: Request, resp: Response, error: Exception, params: object, **_: object
    ) -> None:
        log.error("request failed", method=req.method, route=req.uri_template, exc_info=error)
        _answer(resp, 500, UNKNOWN_MESSAGE)

    app.add_error_handler(Exception, handle_unknown)
    app.add_error_handler(falcon.HTTPError, handle_falcon)
    for error_class in statuses:
        app.add_error_handler(error_class, handle_known)


def _answer(resp: Response, status: int, message: str, **extra: object) -> None:
    # The resource may have begun a response. None of it may remain.
    resp.data = resp.text = None
    resp.status = status
    resp.media = {"message": message, "code": status, **extra}
