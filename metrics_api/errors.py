"""What can be wrong with a query, and the status of each."""

from collections.abc import Mapping

from storage.errors import StorageError


class QueryError(Exception):
    """A query that is not answered; its text is for the client."""


class ParameterError(QueryError):
    """A query parameter is missing, unknown or wrong."""


class QueryTooLargeError(QueryError):
    """The answer would have more rows than are given out."""


class QueryBusyError(QueryError):
    """As many queries as may wait are waiting."""

    retry_after_s = 1


class QueryTimeoutError(QueryError):
    """The answer, or the flush before it, took longer than allowed."""

    retry_after_s = 1


class QueryUnavailableError(QueryError):
    """Storage can't answer now."""

    retry_after_s = 1

    def __init__(self, cause: StorageError) -> None:
        super().__init__("Storage can't answer now: retry later")
        self.cause = cause


class QueryRefusedError(QueryError):
    """Storage refuses the query until an operator acts; asking again does not help."""

    def __init__(self) -> None:
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
