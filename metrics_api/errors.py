"""The errors of a query, and the HTTP status of each."""

from collections.abc import Mapping


class QueryError(Exception):
    """A query that failed. Its text is sent to the client."""


class ParameterError(QueryError):
    """A query parameter is missing, unknown or wrong."""


class QueryTooLargeError(QueryError):
    """The result has more rows than a query may return."""


class QueryBusyError(QueryError):
    """The query queue is full; the query was not sent to storage."""

    retry_after_s = 1


class QueryTimeoutError(QueryError):
    """The query, or the flush before it, took longer than allowed."""

    retry_after_s = 1


class QueryUnavailableError(QueryError):
    """Storage can't answer now. The same query may work later."""

    retry_after_s = 1

    def __init__(self) -> None:
        """Take no text, because the client must not see the error of storage."""
        super().__init__("Storage can't answer now: retry later")


class QueryRefusedError(QueryError):
    """Storage refuses the query until an operator acts.

    It has no `retry_after_s`, because a retry does not help.
    """

    def __init__(self) -> None:
        """Take no text, because only the log says what the operator must do."""
        super().__init__(
            "Storage refuses this query: its operator must act, the service's log says how"
        )


STATUSES: Mapping[type[Exception], int] = {
    ParameterError: 400,
    QueryTooLargeError: 400,
    QueryBusyError: 429,
    QueryTimeoutError: 503,
    QueryUnavailableError: 503,
    QueryRefusedError: 503,
}
"""Error class to HTTP status."""
