"""The query string of one request. Parameters are taken by name, and the rest are filters."""

from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import parse_qsl

from metrics_api.errors import ParameterError

PAIRS_MAX = 100
"""Maximum number of pairs in a query string."""

Choice = TypeVar("Choice", bound=str)


class Parameters:
    """The pairs of a query string, and the names that were taken.

    A parameter with an empty value counts as absent. A filter with an empty value matches events
    that have no value.

    Attributes:
        pairs: (name, value) in their order.
        known: names of the parameters that were taken, whether they are there or not.
    """

    def __init__(self, query_string: str) -> None:
        """Parse a query string.

        Raises:
            ParameterError: There are too many pairs, or one has a NUL character.
        """
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
        """Take a parameter that may be given several times. Empty values are left out."""
        if name not in self.known:
            self.known.append(name)
        return [value for key, value in self.pairs if key == name and value]

    def one(self, name: str) -> str | None:
        """Take a parameter that may be given once.

        Raises:
            ParameterError: It is there several times.
        """
        values = self.many(name)
        if sum(key == name for key, _ in self.pairs) > 1:
            raise ParameterError(f"Query parameter {name} must be given once")
        return values[0] if values else None

    def choice(self, name: str, choices: Sequence[Choice]) -> Choice | None:
        """Take a parameter whose value is one of `choices`.

        Raises:
            ParameterError: The value is none of them.
        """
        value = self.one(name)
        if value is None:
            return None
        for choice in choices:
            if choice == value:
                return choice
        raise ParameterError(f"Query parameter {name} must be one of {', '.join(choices)}")

    def flag(self, name: str) -> bool:
        """Take a parameter that is true or false; absent is false.

        Raises:
            ParameterError: The value is neither.
        """
        return self.choice(name, ("true", "false")) == "true"

    def integer(self, name: str, *, low: int, high: int) -> int | None:
        """Take a parameter that is a whole number from `low` to `high`.

        Raises:
            ParameterError: The value is no such number.
        """
        value = self.one(name)
        if value is None:
            return None
        is_number = value.isascii() and value.isdigit() and len(value) < 19
        number = int(value) if is_number else -1
        if not low <= number <= high:
            raise ParameterError(f"Query parameter {name} must be a number from {low} to {high}")
        return number

    def left(self) -> list[tuple[str, str]]:
        """Return the pairs that were not taken."""
        return [(name, value) for name, value in self.pairs if name not in self.known]
