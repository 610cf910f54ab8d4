"""The query string of one request: each parameter is taken by name, the rest are filters."""

from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import parse_qsl

from metrics_api.errors import ParameterError

PAIRS_MAX = 100

Choice = TypeVar("Choice", bound=str)


class Parameters:
    """Hands out each parameter once, and knows what was never asked for.

    An empty value counts as left out, but for filters, where it stands for absent.
    """

    def __init__(self, query_string: str) -> None:
        """Raises ParameterError."""
        try:
            pairs = parse_qsl(
                query_string, keep_blank_values=True, max_num_fields=PAIRS_MAX, errors="replace"
            )
        except ValueError as error:
            raise ParameterError(f"There may be {PAIRS_MAX} query parameters at most") from error
        for name, value in pairs:
            if "\0" in name or "\0" in value:
                raise ParameterError(
                    f"Query parameter {name[:100]!r} must not contain the NUL character"
                )
        self.pairs: Sequence[tuple[str, str]] = pairs
        self.known: list[str] = []

    def many(self, name: str) -> list[str]:
        """The values of `name` that are not empty, in their order."""
        if name not in self.known:
            self.known.append(name)
        return [value for key, value in self.pairs if key == name and value]

    def one(self, name: str) -> str | None:
        """Raises ParameterError when it is there several times."""
        values = self.many(name)
        if sum(key == name for key, _ in self.pairs) > 1:
            raise ParameterError(f"Query parameter {name} must be given once")
        return values[0] if values else None

    def choice(self, name: str, choices: Sequence[Choice]) -> Choice | None:
        """Raises ParameterError when it is none of `choices`."""
        value = self.one(name)
        if value is None:
            return None
        for choice in choices:
            if choice == value:
                return choice
        raise ParameterError(f"Query parameter {name} must be one of {', '.join(choices)}")

    def flag(self, name: str) -> bool:
        """Raises ParameterError when it is neither true nor false."""
        return self.choice(name, ("true", "false")) == "true"

    def integer(self, name: str, *, low: int, high: int) -> int | None:
        """Raises ParameterError when it is no whole number from `low` to `high`."""
        value = self.one(name)
        if value is None:
            return None
        is_number = value.isascii() and value.isdigit() and len(value) < 19
        number = int(value) if is_number else -1
        if not low <= number <= high:
            raise ParameterError(f"Query parameter {name} must be a number from {low} to {high}")
        return number

    def left(self) -> list[tuple[str, str]]:
        """What nobody asked for."""
        return [(name, value) for name, value in self.pairs if name not in self.known]
