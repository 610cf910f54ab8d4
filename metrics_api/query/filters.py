"""Filters such as `os=iOS`, `os!=iOS`, `param.depth>=50`, `hostname^=shop` and `city*=burg`.

The operator stands between the dimension and the value. The `=` at its end also separates name and
value in a query string. So `hostname^=shop` arrives as the name `hostname^` and the value `shop`.

A filter can have several values, given by pairs with the same dimension and operator. With `=`,
`^=` and `*=` any of the values must match, with `!=`, `!^=` and `!*=` none of them may match, and
bounds must all hold. An empty value matches events that have no value.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite

from metrics_api.errors import ParameterError
from metrics_api.query.dimensions import FILTERABLE, Dimension, parse_dimension
from metrics_api.query.statement import Bindings

TEXT_OPERATORS = ("!^=", "!*=", "^=", "*=", "!=", "=")
NUMBER_OPERATORS = (">=", "<=", ">", "<")
_INTEGER = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter.

    Attributes:
        dimension: the value of an event to compare.
        operator: one of `TEXT_OPERATORS` or `NUMBER_OPERATORS`.
        values: at least one; numbers if the operator is one of `NUMBER_OPERATORS`.
    """

    dimension: Dimension
    operator: str
    values: tuple[str, ...]

    def condition(self, bindings: Bindings) -> str:
        """Build the SQL condition. It is true or false, and never NULL."""
        if self.operator in NUMBER_OPERATORS:
            number = self.dimension.number(bindings)
            bounds = [
                f"ifNull({number} {self.operator} {bindings.number(float(value))}, 0)"
                for value in self.values
            ]
            return " AND ".join(bounds)
        text = self.dimension.text(bindings)
        operator = self.operator.removeprefix("!")
        if operator == "=":
            condition = self._equals(text, bindings)
        else:
            values = bindings.texts(self.values)
            test = "startsWith({text}, v)" if operator == "^=" else "position({text}, v) > 0"
            condition = f"arrayExists(v -> {test.replace('{text}', text)}, {values})"
        return f"NOT ({condition})" if self.operator.startswith("!") else f"({condition})"

    def _equals(self, text: str, bindings: Bindings) -> str:
        condition = f"has({bindings.texts(self.values)}, {text})"
        if self.dimension.kind == "param":
            # 10.50 equals the number 10.5, but not the text 10.5.
            numbers = {number for value in self.values if (number := _number(value)) is not None}
            for number in sorted(numbers):
                value = self.dimension.number(bindings)
                condition += f" OR ifNull({value} = {bindings.number(number)}, 0)"
        return condition


def parse_filters(pairs: Sequence[tuple[str, str]], known: Sequence[str]) -> tuple[Filter, ...]:
    """Parse filters.

    Args:
        pairs: (name, value) of the query string, without those of parameters.
        known: names of the parameters, for the message.

    Returns:
        One filter for each dimension and operator, in the order of their first pair.

    Raises:
        ParameterError: A dimension does not exist, or its operator or value does not fit.
    """
    values: dict[tuple[str, str], list[str]] = {}
    for name, value in pairs:
        dimension, operator, text = _split(name, value)
        values.setdefault((dimension, operator), []).append(text)
    return tuple(
        _filter(dimension, operator, texts, known)
        for (dimension, operator), texts in values.items()
    )


def _split(name: str, value: str) -> tuple[str, str, str]:
    """Return (dimension, operator, value) of a pair, which was split at the first `=`."""
    for operator in ("!^=", "!*=", "^=", "*=", "!=", ">=", "<="):
        if name.endswith(operator[:-1]):
            return name.removesuffix(operator[:-1]), operator, value
    if not value:  # `a>5` has no `=`
        for operator in (">", "<"):
            dimension, found, bound = name.partition(operator)
            if found:
                return dimension, operator, bound
    return name, "=", value


def _filter(name: str, operator: str, values: list[str], known: Sequence[str]) -> Filter:
    try:
        dimension = parse_dimension(name, name)
    except ParameterError as error:
        raise ParameterError(
            f"Query parameter {name[:100]!r} is not known: known are {', '.join(known)},"
            f" and for filters {', '.join(FILTERABLE)}"
        ) from error
    if dimension.kind == "time":
        raise ParameterError(f"Query parameter {name} can't be a filter: use from and to")
    if operator in NUMBER_OPERATORS:
        if dimension.kind != "param":
            raise ParameterError(
                f"Query parameter {name[:100]}: {operator} works only for param.<key> and"
                " user_param.<key>, because the others are texts"
            )
        if any(_number(value) is None for value in values):
            raise ParameterError(
                f"Query parameter {name[:100]}: {operator} needs a number that a float can hold"
            )
    return Filter(dimension, operator, tuple(values))


def _number(text: str) -> float | None:
    """Return a number, or None for a text that is no finite number.

    An integer that no float can hold is None too, because no event can have it.
    """
    if _INTEGER.fullmatch(text) and abs(float(text)) >= 2**53 and Decimal(text) != float(text):
        return None
    try:
        number = float(text) if text.isascii() and "_" not in text else None
    except ValueError:
        return None
    return number if number is not None and isfinite(number) else None
