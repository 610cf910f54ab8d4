"""Query parameters that no question knows: a refusal names them, for they are often its cause.

A list that is called `step[]`, or an `event` in the place of `event_name`, leaves a question
without what it needs, and that is all that it says.
"""

import re

from metrics_api.errors import ParameterError
from metrics_api.query.dimensions import parse_dimension
from metrics_api.query.query_string import Parameters

PARAMETERS = frozenset({
    "approximate", "compare", "consistency", "cursor", "dimension", "event_name", "fill",
    "first_event", "from", "group_by", "id", "interval", "last", "limit", "measure", "order",
    "other", "period", "periods", "return_event", "scope", "step", "to", "tz", "window",
})  # fmt: skip
"""Of all questions."""
_OPERATOR = re.compile(r"!?[\^*]$|!$|[<>].*$", re.DOTALL)
NAMES_MAX = 3


def with_unknown(error: ParameterError, parameters: Parameters) -> ParameterError:
    """`error`, with the names that are not known, unless it has one of them."""
    names = dict.fromkeys(name for name, _ in parameters.pairs if not _is_known(name))
    printed = [repr(name[:100]) for name in names][:NAMES_MAX]
    text = str(error)
    if not printed or any(name in text for name in printed):
        return error
    return ParameterError(f"{text}; not known: {', '.join(printed)}")


def _is_known(name: str) -> bool:
    """Whether it is a parameter or, without its operator, a filter."""
    if name in PARAMETERS:
        return True
    dimension = _OPERATOR.sub("", name)
    try:
        parse_dimension(dimension, dimension)
    except ParameterError:
        return False
    return True
