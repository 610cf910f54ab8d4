"""Measures: what is computed of the events in a group, next to their count and their users.

`measure=sum:param.value`, with sum, avg, min, max, median or a percentile such as p95 or p99.9, of
`param.<key>`, `user_param.<key>`, `revenue` or `quantity` (over the items of an event); `revenue`
and `quantity` alone are their sums; `events_per_user` is of the events that have a user.
"""

import re
from dataclasses import dataclass

from metrics_api.dimensions import PARAM_PREFIXES, parse_dimension
from metrics_api.errors import ParameterError
from metrics_api.statement import Bindings

MEASURES_MAX = 10
ITEM_NUMBERS = {"revenue": "items.revenue_in_usd", "quantity": "items.quantity"}
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

    def value(self, bindings: Bindings) -> str:
        """The SQL of an event's number, NULL where it has none."""
        if self.is_of_items:
            column = ITEM_NUMBERS[self.number]
            numbers = f"arrayFilter(x -> isNotNull(x), {column})"
            return (
                f"if(empty({numbers}), NULL, arraySum(x -> assumeNotNull(toFloat64(x)), {numbers}))"
            )
        return parse_dimension(self.number, "measure").number(bindings)

    def aggregate(self, column: str, *, approximate: bool) -> str:
        """The SQL of it over `column`, in which the values are. The columns of sql.py are there."""
        if self.function == "events_per_user":
            uniq = "uniq" if approximate else "uniqExact"
            return f"countIf(user_hash != 0) / nullIf({uniq}If(user_hash, user_hash != 0), 0)"
        if self.function == "quantile":
            quantile = "quantileTDigest" if approximate else "quantileExact"
            return f"{quantile}({self.level})({column})"
        return f"{self.function}({column})"


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
            return Measure(text, "quantile", number, float(percentile[1]) / 100)
    raise ParameterError(
        f"Query parameter measure: {text[:100]!r} is none: it is revenue, quantity,"
        f" events_per_user, or one of {', '.join(_FUNCTIONS)}, median and p1 to p100 with what it"
        " is of, as in sum:param.<key>, p95:user_param.<key> or avg:revenue"
    )
