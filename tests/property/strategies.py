"""Events as hypothesis strategies, made from the one definition of an event."""

from datetime import datetime
from typing import Any

from hypothesis import strategies as st
from msgspec import inspect

from ingest.event.arrow import EVENT_KIND
from ingest.event.definition import TIMESTAMP_UNITS_US

# Surrogates are no JSON text; NUL is refused.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
UNIX_TIMES = st.one_of(*(st.integers(first, end - 1) for first, end, _, _ in TIMESTAMP_UNITS_US))
DATES = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2299, 12, 30)).flatmap(
    lambda moment: st.sampled_from(["Z", "+00:00", "-03:30", "+14:00"]).map(
        lambda zone: moment.isoformat() + zone
    )
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
# The fast path leaves larger ones to the slow one, which knows whether they were integers.
NUMBERS = FLOATS.filter(lambda number: abs(number) < 2**53)


def _values(name: str, kind: inspect.Type) -> st.SearchStrategy[Any]:
    if isinstance(kind, inspect.Metadata):
        return _values(name, kind.type)
    if isinstance(kind, inspect.UnionType):
        if any(isinstance(part, inspect.FloatType) for part in kind.types):
            return NUMBERS | st.none()
        return st.one_of(*(_values(name, part) for part in kind.types))
    if isinstance(kind, inspect.NoneType):
        return st.none()
    if isinstance(kind, inspect.TypedDictType):
        return objects(kind)
    if isinstance(kind, inspect.ListType):
        return st.lists(_values(name, kind.item_type), max_size=3)
    if isinstance(kind, inspect.LiteralType):
        return st.sampled_from(kind.values)
    if isinstance(kind, inspect.StrType):
        return TEXT.filter(lambda text: len(text) >= (kind.min_length or 0))
    if isinstance(kind, inspect.BoolType):
        return st.booleans()
    if isinstance(kind, inspect.DateTimeType):
        return DATES
    assert isinstance(kind, inspect.IntType), kind
    return UNIX_TIMES if "timestamp" in name else st.integers(-(2**63), 2**63 - 1)


def objects(kind: inspect.TypedDictType) -> st.SearchStrategy[dict[str, Any]]:
    fields = {field.encode_name: field for field in kind.fields}
    values = {name: _values(name, field.type) for name, field in fields.items()}
    return st.fixed_dictionaries(
        {name: values[name] for name, field in fields.items() if field.required},
        optional={name: values[name] for name, field in fields.items() if not field.required},
    )


EVENTS = objects(EVENT_KIND)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | FLOATS | TEXT | DATES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


# Few names, so that several events have the same.
UNKNOWN = st.dictionaries(st.sampled_from(["other", "x", "y.z", ""]), JSON, max_size=3)
SAME_UNKNOWN = st.fixed_dictionaries(
    {"other": st.integers() | FLOATS, "x": st.booleans(), "tags": st.lists(TEXT, min_size=1),
     "more": st.fixed_dictionaries({"a": TEXT, "b": st.lists(FLOATS, min_size=1)})}
)  # fmt: skip


def with_unknown(
    events: st.SearchStrategy[dict[str, Any]], fields: st.SearchStrategy[dict[str, Any]] = UNKNOWN
) -> st.SearchStrategy[dict[str, Any]]:
    """The events with fields of other names added."""
    return st.builds(lambda event, more: {**event, **more}, events, fields)


@st.composite
def spoiled_events(draw: st.DrawFn) -> dict[str, Any]:
    """An event of which one part, at any depth, is replaced by any JSON value or removed."""
    event = draw(EVENTS)
    node: Any = event
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return event
        key = draw(st.sampled_from(keys))
        if isinstance(node[key], dict | list) and node[key] and draw(st.booleans()):
            node = node[key]
            continue
        if draw(st.booleans()):
            node[key] = draw(JSON)
        else:
            del node[key]
        return event
