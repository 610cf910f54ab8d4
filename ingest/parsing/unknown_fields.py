"""Fields of events that are not ours: accepted and ignored, and read by Arrow all the same.

Arrow's reader could skip them, but would then see neither a key that is twice among them nor what
is no JSON. So it is told to expect them as they are in a sample of the events. What does not fit
that is left to `decode` and `validate`, as is all that the fast path declines.
"""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from ingest.event.arrow import BODY_TYPE

FIELDS_MAX = 50
"""Of an event and what is nested in it: each costs memory for every event, wherever it is set."""
LEVELS_MAX = 8
"""Of nesting in one field."""

_KNOWN = frozenset(field.name for field in BODY_TYPE)


def unknown_fields(events: Iterable[dict[str, Any]]) -> list[pa.Field] | None:
    """The unknown fields of these events; None when they have none, or too many, or too deep."""
    values: dict[str, list[Any]] = {}
    for event in events:
        for name in event.keys() - _KNOWN:
            values.setdefault(name, []).append(event[name])
    try:
        fields = [
            pa.field(name, _widened(pa.infer_type(sample), LEVELS_MAX))
            for name, sample in sorted(values.items())
        ]
    except (pa.ArrowException, OverflowError):
        return None
    return fields if 0 < sum(_size(field.type) for field in fields) <= FIELDS_MAX else None


def _size(kind: pa.DataType) -> int:
    """A field and those nested in it."""
    if pa.types.is_list(kind):
        return 1 + _size(kind.value_type)
    return 1 + sum(_size(field.type) for field in kind) if pa.types.is_struct(kind) else 1


def _widened(kind: pa.DataType, levels: int) -> pa.DataType:
    """With room for any number where there was one. Raises ArrowInvalid for more levels."""
    if not levels:
        raise pa.ArrowInvalid("Nested too deeply")
    if pa.types.is_list(kind):
        return pa.list_(_widened(kind.value_type, levels - 1))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _widened(f.type, levels - 1)) for f in kind])
    return pa.float64() if pa.types.is_integer(kind) else kind
