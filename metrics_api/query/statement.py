"""SQL with its values beside it: what a client sends becomes a bound parameter, never text."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["text", "integer", "number"]
"""Of a result column."""


@dataclass(frozen=True, slots=True)
class Statement:
    """sql: with `{name:Type}` places; parameters: what they are bound to."""

    sql: str
    parameters: dict[str, Any]


@dataclass(slots=True)
class Bindings:
    """Collects the values of one statement."""

    values: dict[str, Any] = field(default_factory=dict)

    def _bind(self, value: Any, kind: str) -> str:
        name = f"v{len(self.values)}"
        self.values[name] = value
        return f"{{{name}:{kind}}}"

    def text(self, value: str) -> str:
        return self._bind(value, "String")

    def texts(self, values: Sequence[str]) -> str:
        return self._bind(list(values), "Array(String)")

    def integer(self, value: int) -> str:
        return self._bind(value, "Int64")

    def integers(self, values: Sequence[int]) -> str:
        return self._bind(list(values), "Array(Int64)")

    def instant(self, us: int) -> str:
        """us: µs since 1970."""
        return f"fromUnixTimestamp64Micro({self.integer(us)}, 'UTC')"

    def number(self, value: float) -> str:
        return self._bind(value, "Float64")
