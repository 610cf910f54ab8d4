"""Measures: numbers computed of the events in a group, next to their count and their users.

- `sum:param.value` is a function of a number. Functions are sum, avg, min, max, median and
  percentiles such as p95 or p99.9. Numbers are `param.<key>`, `user_param.<key>`, `revenue` and
  `quantity`. The last two are summed over the items of an event.
- `revenue` and `quantity` without a function are sums.
- `events_per_user` counts only events that have a user.
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
"""Maximum number of measures in a query."""
ITEM_NUMBERS = {"revenue": "items.revenue_in_usd", "quantity": "items.quantity"}
"""Numbers of items to their columns."""
LEVEL_MARGIN = 2e-15
"""Subtracted from the level of a quantile, so that quantileExact returns the nearest rank.

Of n sorted values, quantileExact returns the one at the index floor(level * n). The nearest rank
is at the index ceil(level * n) - 1. Both are equal if the level is slightly smaller. The margin is
larger than the rounding error of the level. It is small enough to tell p99.999 from p100 for any n
up to 5e9.
"""
_FUNCTIONS = ("sum", "avg", "min", "max")
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,3})?|100)")


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure.

    Attributes:
        name: text as the client wrote it.
        function: `sum`, `avg`, `min`, `max`, `quantile` or `events_per_user`.
        number: the number of items or the param to compute it of, empty for `events_per_user`.
        level: level of the quantile, from 0 to 1.
    """

    name: str
    function: str
    number: str = ""
    level: float = 0

    @property
    def is_of_items(self) -> bool:
        """Whether the number belongs to items."""
        return self.number in ITEM_NUMBERS

    @property
    def is_whole(self) -> bool:
        """Whether the number is an integer."""
        return self.number == "quantity"

    @property
    def kind(self) -> Kind:
        """Kind of the result column."""
        return "integer" if self.is_whole and self.function != "avg" else "number"

    def value(self, bindings: Bindings) -> str:
        """Build the SQL of the number of an event. It is NULL if the event has none."""
        if not self.is_of_items:
            return parse_dimension(self.number, "measure").number(bindings)
        present = f"arrayFilter(x -> isNotNull(x), {ITEM_NUMBERS[self.number]})"
        return f"if(empty({present}), NULL, {self._sum_of(present)})"

    def item_value(self) -> str:
        """Build the SQL of the number of an item, for rows that are items."""
        return f"{'toInt128' if self.is_whole else 'toFloat64'}(item_{self.number})"

    def of_items(self, column: str) -> str:
        """Build the SQL that merges the numbers of items in `column` into that of their event."""
        if not self.is_of_items:
            return f"any({column})"
        return f"if(count({column}) = 0, NULL, {self._sum_of(f'arraySort(groupArray({column}))')})"

    def _sum_of(self, numbers: str) -> str:
        if self.is_whole:
            return f"arraySum(x -> toInt128(assumeNotNull(x)), {numbers})"
        return row_sum(f"arrayMap(x -> assumeNotNull(x), {numbers})")

    def aggregate(self, column: str, *, approximate: bool) -> str:
        """Build the SQL of the aggregate, whose result `read` understands.

        Args:
            column: column with the numbers of events. The rows also have a column `user_hash`.
            approximate: whether unique users may be estimated.
        """
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
        """Build the SQL by which groups are ordered. Arguments are those of `aggregate`."""
        if self.function not in ("sum", "avg"):
            return self.aggregate(column, approximate=approximate)
        value = f"sum({column})" if self.is_whole else order_by_sum(column)
        return value if self.function == "sum" else f"{value} / count({column})"

    def read(self, found: Any) -> float | int | None:
        """Return the result of `aggregate` as a number, or None if no event has one.

        Raises:
            ParameterError: The number is an integer of more than 64 bits.
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
        return value + 0.0 if isinstance(value, float) else value  # -0.0 becomes 0.0


def parse_measure(text: str) -> Measure:
    """Parse a measure such as `sum:param.value`.

    Raises:
        ParameterError: There is no such measure.
    """
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
        f"Query parameter measure: {text[:100]!r} is no measure: there are revenue, quantity,"
        f" events_per_user, and {', '.join(_FUNCTIONS)}, median and p1 to p100 of a number, such as"
        " sum:param.<key>, p95:user_param.<key> or avg:revenue"
    )
