"""The rules of an event that its Arrow type can't express, checked one column at a time.

The rules are derived from the definition of an event, as are those of `validation`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import inspect

from ingest.event.arrow import EVENT_KIND
from ingest.event.definition import INTEGER_MAX

Check = Callable[[pa.Array], bool]


@dataclass(frozen=True, slots=True)
class _Rule:
    """The rules of one field beyond its Arrow type.

    Attributes:
        index: position of the field in its struct.
        required: whether it must not be null.
        obeys: checks of its values.
    """

    index: int
    required: bool
    obeys: tuple[Check, ...]


def _rules(kind: inspect.TypedDictType) -> Check | None:
    """Return one check for all rules in a definition; None if it has no rules."""
    rules = [
        _Rule(index, field.required, tuple(_checks(field.type)))
        for index, field in enumerate(kind.fields)
    ]
    rules = [rule for rule in rules if rule.required or rule.obeys]
    if not rules:
        return None

    def valid(array: pa.StructArray) -> bool:
        # `flatten`, because `field` would show the value of a child even if its parent is null.
        columns = array.flatten()
        for rule in rules:
            values = columns[rule.index]
            if rule.required and values.null_count:
                return False
            if values.null_count < len(values) and not all(obeys(values) for obeys in rule.obeys):
                return False
        return True

    return valid


def _checks(kind: inspect.Type) -> Iterator[Check]:
    """Yield the checks of one type. They are called with arrays that have a value."""
    if isinstance(kind, inspect.Metadata):
        yield from _checks(kind.type)
    elif isinstance(kind, inspect.UnionType):
        is_number = any(isinstance(part, inspect.FloatType) for part in kind.types)
        for part in kind.types:
            # `_exact` checks the bounds of the integers among floats.
            if not (is_number and isinstance(part, inspect.IntType)):
                yield from _checks(part)
    elif isinstance(kind, inspect.TypedDictType):
        rules = _rules(kind)
        if rules is not None:
            yield rules
    elif isinstance(kind, inspect.ListType):
        if kind.max_length:
            yield _within(pc.list_value_length, None, kind.max_length)
        yield _each(tuple(_checks(kind.item_type)))
    elif isinstance(kind, inspect.LiteralType):
        allowed = pa.array(kind.values)
        yield lambda values: pc.all(pc.is_in(values, allowed)).as_py()
    elif isinstance(kind, inspect.StrType) and (kind.min_length or kind.max_length):
        yield _lengths(kind.min_length, kind.max_length)
    elif isinstance(kind, inspect.FloatType):
        yield all_finite
        yield _exact
    elif isinstance(kind, inspect.IntType):
        yield _within(lambda values: values, kind.ge, kind.le)


def _each(checks: tuple[Check, ...]) -> Check:
    def each(lists: pa.ListArray) -> bool:
        items = lists.flatten()
        if items.null_count:
            return False
        return not len(items) or all(obeys(items) for obeys in checks)

    return each


def all_finite(array: pa.Array) -> bool:
    """Return whether an array has no NaN or Infinity. Arrow's reader accepts both in JSON."""
    if pa.types.is_list(array.type):
        return all_finite(array.flatten())
    if pa.types.is_struct(array.type):
        return all(map(all_finite, array.flatten()))
    if not pa.types.is_floating(array.type):
        return True
    return pc.all(pc.is_finite(array)).as_py() is not False


def _exact(numbers: pa.Array) -> bool:
    """Return whether no number can be an integer that Arrow's reader has rounded."""
    bounds = pc.min_max(numbers).as_py()
    return bool(bounds["min"] > -INTEGER_MAX and bounds["max"] < INTEGER_MAX)


def _within(measure: Callable[[pa.Array], pa.Array], least: int | None, most: int | None) -> Check:
    def within(values: pa.Array) -> bool:
        bounds = pc.min_max(measure(values)).as_py()
        return (least is None or bounds["min"] >= least) and (most is None or bounds["max"] <= most)

    return within


def _lengths(least: int | None, most: int | None) -> Check:
    within = _within(pc.utf8_length, least, most)
    # PERF: a text has at least as many bytes as characters, and its bytes take no time to count.
    within_bytes = _within(pc.binary_length, least, most)

    def lengths(texts: pa.Array) -> bool:
        return within_bytes(texts) or within(texts)

    return lengths


obeys_rules = _rules(EVENT_KIND) or (lambda events: True)
"""Returns whether all events in an array of BODY_TYPE are valid, except for their times."""
