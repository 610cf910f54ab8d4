"""The errors of storage. They are classified by the error code of ClickHouse, never by its text.

The codes and names come from src/Common/ErrorCodes.cpp of ClickHouse (also in `system.errors`).
"""

from dataclasses import dataclass
from typing import Literal

ErrorClass = Literal["transient", "paused", "permanent"]


@dataclass(frozen=True, slots=True)
class Pause:
    """An error that an operator must resolve.

    Attributes:
        name: name of the error in ClickHouse.
        advice: instruction for the operator.
    """

    name: str
    advice: str


_UPGRADE = "this version of ClickHouse does not work with this version of Event Stream: upgrade one"
_MIGRATE = "run event-stream migrate as a user who may CREATE and ALTER"
_PASSWORD = "correct user and password in clickhouse_url"
_RIGHTS = "grant it to the user of clickhouse_url, see docs/operations.md"
_READ_ONLY = "give the user of clickhouse_url a profile that is not read-only"
_SETTING = "let the profile of the user allow this value, or change it in our settings"
_DATABASE = "create the database that clickhouse_url names, or name another one"
_CLUSTER = "correct clickhouse_cluster, or the cluster, macros and Keeper of the servers"

PAUSING_CODES = {
    16: Pause("NO_SUCH_COLUMN_IN_TABLE", _MIGRATE),
    46: Pause("UNKNOWN_FUNCTION", _UPGRADE),
    47: Pause("UNKNOWN_IDENTIFIER", _UPGRADE),
    48: Pause("NOT_IMPLEMENTED", _UPGRADE),
    60: Pause("UNKNOWN_TABLE", _MIGRATE),
    62: Pause("SYNTAX_ERROR", _UPGRADE),
    81: Pause("UNKNOWN_DATABASE", _DATABASE),
    115: Pause("UNKNOWN_SETTING", _UPGRADE),
    139: Pause("NO_ELEMENTS_IN_CONFIG", _CLUSTER),
    164: Pause("READONLY", _READ_ONLY),
    170: Pause("BAD_GET", _CLUSTER),
    181: Pause("ILLEGAL_FINAL", "name a database of Event Stream in clickhouse_url"),
    192: Pause("UNKNOWN_USER", _PASSWORD),
    193: Pause("WRONG_PASSWORD", _PASSWORD),
    194: Pause("REQUIRED_PASSWORD", _PASSWORD),
    195: Pause("IP_ADDRESS_NOT_ALLOWED", _PASSWORD),
    392: Pause("QUERY_IS_PROHIBITED", _CLUSTER),
    452: Pause("SETTING_CONSTRAINT_VIOLATION", _SETTING),
    497: Pause("ACCESS_DENIED", _RIGHTS),
    516: Pause("AUTHENTICATION_FAILED", f"{_PASSWORD}, or let the user connect from this address"),
    701: Pause("CLUSTER_DOESNT_EXIST", _CLUSTER),
}
"""Errors that last until an operator acts. The rows are valid: they are kept and retried slowly."""

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
"""Errors in the rows themselves: a retry of the same rows can't succeed."""

ACCESS_DENIED = 497
TOO_MANY_PARTS = 252
OUT_OF_MEMORY = 241
NOT_THERE_CODES = {
    32: "ATTEMPT_TO_READ_AFTER_EOF",
    210: "NETWORK_ERROR",
    279: "ALL_CONNECTION_TRIES_FAILED",
}
"""A server of the cluster can't reach another one."""
TIMEOUT_CODES = {159: "TIMEOUT_EXCEEDED", 160: "TOO_SLOW", 209: "SOCKET_TIMEOUT"}
LIMIT_CODES = {158: "TOO_MANY_ROWS", OUT_OF_MEMORY: "MEMORY_LIMIT_EXCEEDED", 307: "TOO_MANY_BYTES"}
RESULT_LIMIT = 396
"""TOO_MANY_ROWS_OR_BYTES: the result of a query is too large."""


class StorageError(Exception):
    """An operating error of storage.

    Attributes:
        code: error code of ClickHouse, or None when ClickHouse sent none.
    """

    error_class: ErrorClass = "transient"

    def __init__(self, message: str, code: int | None = None) -> None:
        """Create the error with the `code` of ClickHouse, if there is one."""
        super().__init__(message)
        self.code = code


class TransientError(StorageError):
    """A retry may succeed: no response, overload, restart, full disk, or an unknown error code."""


class PausedError(StorageError):
    """A retry fails until an operator corrects something: the schema, the rights, the password."""

    error_class: ErrorClass = "paused"


class PermanentError(StorageError):
    """ClickHouse will never accept these rows."""

    error_class: ErrorClass = "permanent"


class QueryQueueFullError(StorageError):
    """The query queue is full; the query was not sent."""


class UnavailableError(StorageError):
    """ClickHouse can't be reached or can't be used now; the message says what to do."""


def classify(message: str, code: int | None) -> StorageError:
    """Return the error to raise for an error code of ClickHouse."""
    if code in PERMANENT_CODES:
        return PermanentError(message, code)
    if code in PAUSING_CODES:
        return PausedError(f"{message}: {PAUSING_CODES[code].advice}", code)
    return TransientError(message, code)
