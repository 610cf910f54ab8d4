"""Name unknown query parameters in error messages, because they are often the cause of an error.

For example, a client that sends `step[]` or `event` gets the error that `step` or `event_name` is
missing. The message then also names the parameter that was sent.
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
"""Parameters of all endpoints."""
_OPERATOR = re.compile(r"!?[\^*]$|!$|[<>].*$", re.DOTALL)
NAMES_MAX = 3
"""Maximum number of unknown parameters in a message."""


def with_unknown(error: ParameterError, parameters: Parameters) -> ParameterError:
    """Return `error` with the names of unknown parameters, unless it already names one of them."""
    names = dict.fromkeys(name for name, _ in parameters.pairs if not _is_known(name))
    printed = [repr(name[:100]) for name in names][:NAMES_MAX]
    text = str(error)
    if not printed or any(name in text for name in printed):
        return error
    return ParameterError(f"{text}; not known: {', '.join(printed)}")


def _is_known(name: str) -> bool:
    """Return whether a name is a parameter, or a filter once its operator is removed."""
    if name in PARAMETERS:
        return True
    dimension = _OPERATOR.sub("", name)
    try:
        parse_dimension(dimension, dimension)
    except ParameterError:
        return False
    return True
