"""SQL and its bound parameters. Input of clients is bound, and never becomes part of the SQL."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["text", "integer", "number"]
"""Type of a column of a query result."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL statement.

    Attributes:
        sql: with placeholders such as `{v0:String}`.
        parameters: name of a placeholder to its value.
    """

    sql: str
    parameters: dict[str, Any]


@dataclass(slots=True)
class Bindings:
    """Collects the parameters of one statement.

    Each method binds a value, and returns the SQL that stands for it.

    Attributes:
        values: name of a placeholder to its value.
    """

    values: dict[str, Any] = field(default_factory=dict)

    def _bind(self, value: Any, kind: str) -> str:
        name = f"v{len(self.values)}"
        self.values[name] = value
        return f"{{{name}:{kind}}}"

    def text(self, value: str) -> str:
        """Bind a text."""
        return self._bind(value, "String")

    def texts(self, values: Sequence[str]) -> str:
        """Bind an array of texts."""
        return self._bind(list(values), "Array(String)")

    def integer(self, value: int) -> str:
        """Bind an integer of 64 bits."""
        return self._bind(value, "Int64")

    def integers(self, values: Sequence[int]) -> str:
        """Bind an array of integers."""
        return self._bind(list(values), "Array(Int64)")

    def instant(self, us: int) -> str:
        """Bind an instant, given in µs since 1970."""
        return f"fromUnixTimestamp64Micro({self.integer(us)}, 'UTC')"

    def number(self, value: float) -> str:
        """Bind a float."""
        return self._bind(value, "Float64")
