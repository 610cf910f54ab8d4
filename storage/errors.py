"""What storage can fail with, classified by ClickHouse error code and never by message text.

Codes and names: ClickHouse, src/Common/ErrorCodes.cpp (also `system.errors`).
"""

from typing import Literal

ErrorClass = Literal["transient", "paused", "permanent"]

PAUSING_CODES = {
    16: "NO_SUCH_COLUMN_IN_TABLE",
    60: "UNKNOWN_TABLE",
    81: "UNKNOWN_DATABASE",
    192: "UNKNOWN_USER",
    193: "WRONG_PASSWORD",
    194: "REQUIRED_PASSWORD",
    195: "IP_ADDRESS_NOT_ALLOWED",
    497: "ACCESS_DENIED",
    516: "AUTHENTICATION_FAILED",
}
"""Wrong until an operator acts: not the rows' fault, so they are kept and tried again slowly."""

PERMANENT_CODES = {
    6: "CANNOT_PARSE_TEXT",
    26: "CANNOT_PARSE_QUOTED_STRING",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    53: "TYPE_MISMATCH",
    69: "ARGUMENT_OUT_OF_BOUND",
    72: "CANNOT_PARSE_NUMBER",
    117: "INCORRECT_DATA",
    321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    469: "VIOLATED_CONSTRAINT",
}
"""The rows themselves are refused: trying the same rows again can't help."""

TOO_MANY_PARTS = 252
TIMEOUT_CODES = {159: "TIMEOUT_EXCEEDED", 160: "TOO_SLOW", 209: "SOCKET_TIMEOUT"}
LIMIT_CODES = {158: "TOO_MANY_ROWS", 241: "MEMORY_LIMIT_EXCEEDED", 307: "TOO_MANY_BYTES"}
RESULT_LIMIT = 396
"""TOO_MANY_ROWS_OR_BYTES: of what a query gives back."""


class StorageError(Exception):
    """An operating error of storage. code: ClickHouse's, None when there was no answer."""

    error_class: ErrorClass = "transient"

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class TransientError(StorageError):
    """May work when tried again: no answer, overload, restart, disk full, and all unknown codes."""


class PausedError(StorageError):
    """Works again once an operator has acted: schema, rights, password."""

    error_class: ErrorClass = "paused"


class PermanentError(StorageError):
    """These rows will never be taken."""

    error_class: ErrorClass = "permanent"


class BusyError(StorageError):
    """It was not asked at all: as many queries are waiting as may."""


class UnavailableError(StorageError):
    """Storage can't be opened at start; the text says what to do."""


def classify(message: str, code: int | None) -> StorageError:
    """The error to raise for a ClickHouse error code."""
    if code in PERMANENT_CODES:
        return PermanentError(message, code)
    if code in PAUSING_CODES:
        return PausedError(message, code)
    return TransientError(message, code)
