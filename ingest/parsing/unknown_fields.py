"""Arrow fields for the unknown fields of events, which are accepted and ignored.

Arrow's reader can skip unknown fields, but then it misses duplicate keys and invalid JSON in them.
So its schema includes the unknown fields of a sample of the events. Events that do not fit this
schema take the strict path, like everything that the fast path declines.
"""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from ingest.event.arrow import BODY_TYPE

FIELDS_MAX = 50
"""Maximum number of unknown fields, nested ones included. Each takes memory for every event."""
LEVELS_MAX = 8
"""Maximum levels of nesting in one field."""

_KNOWN = frozenset(field.name for field in BODY_TYPE)


def unknown_fields(events: Iterable[dict[str, Any]]) -> list[pa.Field] | None:
    """Return the unknown fields of events; None if there are none, too many, or too deep ones."""
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
    """Return the number of fields in a type, itself included."""
    if pa.types.is_list(kind):
        return 1 + _size(kind.value_type)
    return 1 + sum(_size(field.type) for field in kind) if pa.types.is_struct(kind) else 1


def _widened(kind: pa.DataType, levels: int) -> pa.DataType:
    """Replace integers by floats, which hold any number. Raises ArrowInvalid if it is too deep."""
    if not levels:
        raise pa.ArrowInvalid("Nested too deeply")
    if pa.types.is_list(kind):
        return pa.list_(_widened(kind.value_type, levels - 1))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _widened(f.type, levels - 1)) for f in kind])
    return pa.float64() if pa.types.is_integer(kind) else kind
