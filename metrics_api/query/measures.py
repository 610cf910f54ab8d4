"""Measures: what is computed of the events in a group, next to their count and their users.

`measure=sum:param.value`, with sum, avg, min, max, median or a percentile such as p95 or p99.9, of
`param.<key>`, `user_param.<key>`, `revenue` or `quantity` (over the items of an event); `revenue`
and `quantity` alone are their sums; `events_per_user` is of the events that have a user.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from metrics_api.errors import ParameterError
from metrics_api.query.dimensions import PARAM_PREFIXES, parse_dimension
from metrics_api.query.exact import average, order_by_sum, row_sum, sum_parts, total
from metrics_api.query.statement import Bindings, Kind

MEASURES_MAX = 10
ITEM_NUMBERS = {"revenue": "items.revenue_in_usd", "quantity": "items.quantity"}
LEVEL_MARGIN = 2e-15
"""quantileExact takes the value at the index floor(level * n) of n, the nearest rank is
ceil(level * n): with so much less of the level it has the index ceil(level * n) - 1. That is more
than the level is rounded by, and less than p99.999 is off from p100 for any n up to 5e9."""
_FUNCTIONS = ("sum", "avg", "min", "max")
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,3})?|100)")


@dataclass(frozen=True, slots=True)
class Measure:
    """name: as asked for; level: of the quantile; number: the item number or param it is of, ''
    for events_per_user."""

    name: str
    function: str
    number: str = ""
    level: float = 0

    @property
    def is_of_items(self) -> bool:
        return self.number in ITEM_NUMBERS

    @property
    def is_whole(self) -> bool:
        """Whether the numbers are integers."""
        return self.number == "quantity"

    @property
    def kind(self) -> Kind:
        return "integer" if self.is_whole and self.function != "avg" else "number"

    def value(self, bindings: Bindings) -> str:
        """The SQL of an event's number, NULL where it has none."""
        if not self.is_of_items:
            return parse_dimension(self.number, "measure").number(bindings)
        present = f"arrayFilter(x -> isNotNull(x), {ITEM_NUMBERS[self.number]})"
        return f"if(empty({present}), NULL, {self._sum_of(present)})"

    def item_value(self) -> str:
        """The SQL of an item's number."""
        return f"{'toInt128' if self.is_whole else 'toFloat64'}(item_{self.number})"

    def of_items(self, column: str) -> str:
        """The SQL of an event's number, made of its items' in `column`."""
        if not self.is_of_items:
            return f"any({column})"
        return f"if(count({column}) = 0, NULL, {self._sum_of(f'arraySort(groupArray({column}))')})"

    def _sum_of(self, numbers: str) -> str:
        if self.is_whole:
            return f"arraySum(x -> toInt128(assumeNotNull(x)), {numbers})"
        return row_sum(f"arrayMap(x -> assumeNotNull(x), {numbers})")

    def aggregate(self, column: str, *, approximate: bool) -> str:
        """The SQL of what `read` reads, over `column`, in which the values are. The columns of
        sql.py are there."""
        match self.function:
            case "events_per_user":
                uniq = "uniq" if approximate else "uniqExact"
                users = f"{uniq}If(user_hash, user_hash != 0)"
                return f"countIf(user_hash != 0) / nullIf({users}, 0)"
            case "quantile":
                return f"quantileExact({max(self.level - LEVEL_MARGIN, 0.0)!r})({column})"
            case "sum" | "avg":
                if self.is_whole:
                    return f"(count({column}), ifNull(sum({column}), 0))"
                return sum_parts(column)
        return f"{self.function}({column})"

    def order(self, column: str, *, approximate: bool) -> str:
        """The SQL of what groups are ordered by."""
        if self.function not in ("sum", "avg"):
            return self.aggregate(column, approximate=approximate)
        value = f"sum({column})" if self.is_whole else order_by_sum(column)
        return value if self.function == "sum" else f"{value} / count({column})"

    def read(self, found: Any) -> float | int | None:
        """What `aggregate` found as a number, None where no event has one.

        Raises ParameterError for an integer of more than 64 bits.
        """
        value: float | int | None = found
        if self.function in ("sum", "avg") and not self.is_whole:
            value = total(found) if self.function == "sum" else average(found)
        elif self.function in ("sum", "avg"):
            count, added = found
            value = None if not count else added if self.function == "sum" else added / count
        if self.kind == "integer" and value is not None and not -(2**63) <= value < 2**63:
            raise ParameterError(
                f"Query parameter measure: {self.name} comes to {value}, beyond 64 bits: ask for"
                " fewer events, or for avg:quantity"
            )
        return value + 0.0 if isinstance(value, float) else value  # -0.0 is 0.0


def parse_measure(text: str) -> Measure:
    """Raises ParameterError."""
    if text == "events_per_user":
        return Measure(text, text)
    if text in ITEM_NUMBERS:
        return Measure(text, "sum", text)
    function, _, number = text.partition(":")
    is_param = any(number.startswith(p) and number != p for p in PARAM_PREFIXES)
    if is_param or number in ITEM_NUMBERS:
        if function in _FUNCTIONS:
            return Measure(text, function, number)
        percentile = _PERCENTILE.fullmatch("p50" if function == "median" else function)
        if percentile:
            return Measure(text, "quantile", number, float(Fraction(percentile[1]) / 100))
    raise ParameterError(
        f"Query parameter measure: {text[:100]!r} is none: it is revenue, quantity,"
        f" events_per_user, or one of {', '.join(_FUNCTIONS)}, median and p1 to p100 with what it"
        " is of, as in sum:param.<key>, p95:user_param.<key> or avg:revenue"
    )
