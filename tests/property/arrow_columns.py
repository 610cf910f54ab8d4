"""Events as hypothesis draws them: as JSON values, and as Arrow columns in any encoding."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from tests.property.arrow_encodings import EVENT, PARAM, REQUIRED, TEXT, VALUES, Fields

ABSENT: Any = None
"""In JSON the key is left out, in a column it is a null. Only a null item of a list is the same."""


class Columns:
    """Draws the values of a number of events, in JSON and in columns."""

    def __init__(self, draw: st.DrawFn, *, spoiled: bool) -> None:
        """Let events be invalid if they are to be `spoiled`."""
        self._draw = draw
        self._spoiled = spoiled

    def events(self, rows: int) -> tuple[list[Any], pa.StructArray]:
        """Return the events; also some that a record batch may leave out."""
        return self._struct(EVENT, [True] * rows)

    def _flags(self, size: int, often: int = 3) -> list[bool]:
        flag = st.integers(0, often).map(bool)
        return self._draw(st.lists(flag, min_size=size, max_size=size))

    def _struct(self, fields: Fields, present: Sequence[bool]) -> tuple[list[Any], pa.StructArray]:
        """Return structs. Under those that are not present, values are hidden."""
        names = set(self._draw(st.lists(st.sampled_from(sorted(fields)), max_size=4)))
        if not self._spoiled or self._draw(st.integers(0, 9)):
            names |= {name for name in REQUIRED if name in fields}
        if fields is EVENT and not names:
            names = {"user_id"}
        order = self._draw(st.permutations(sorted(names)))
        values: list[dict[str, Any]] = [{} for _ in present]
        arrays = {}
        for name in order:
            column, arrays[name] = self._column(name, fields[name], len(present))
            for value, drawn in zip(values, column, strict=True):
                if drawn is not ABSENT:
                    value[name] = drawn
        if not arrays or self._draw(st.booleans()):
            arrays["unknown"] = self._unknown(len(present))
        array = pa.StructArray.from_arrays(
            list(arrays.values()), list(arrays), mask=pa.array([not p for p in present], pa.bool_())
        )
        values = [_sorted(value) if p else ABSENT for value, p in zip(values, present, strict=True)]
        return values, array

    def _column(self, name: str, field: Any, size: int) -> tuple[list[Any], pa.Array]:
        required = name in REQUIRED and not self._spoiled
        if not required and not self._draw(st.integers(0, 9)):
            return [ABSENT] * size, pa.nulls(size)
        if isinstance(field, Mapping):
            return self._struct(field, self._flags(size))
        if field == [PARAM] and self._draw(st.booleans()):
            return self._map(size)
        if isinstance(field[0], Mapping):
            return self._list(field[0], size)
        return self._leaf(field, [True] * size if required else self._flags(size))

    def _leaf(self, encodings: Any, present: Sequence[bool]) -> tuple[list[Any], pa.Array]:
        encoding = self._draw(st.sampled_from(encodings))
        strategy = encoding.any if self._spoiled else encoding.valid
        size = len(present)
        values = self._draw(st.lists(strategy, min_size=size, max_size=size))
        values = [v if p else ABSENT for v, p in zip(values, present, strict=True)]
        sent = [None if v is ABSENT else encoding.to_arrow(v) for v in values]
        if pa.types.is_timestamp(encoding.kind):
            counts = [None if v is None else v.count for v in sent]
            array = pa.array(counts, pa.int64()).cast(encoding.kind)
            return [v if v is ABSENT else v.json for v in values], array
        if pa.types.is_dictionary(encoding.kind):
            return values, self._dictionary(sent, encoding.kind)
        return values, pa.array(sent, encoding.kind)

    def _dictionary(self, values: list[Any], kind: pa.DictionaryType) -> pa.Array:
        words = ["unused", *dict.fromkeys(values)]
        nulls = self._draw(st.booleans())  # as a null in the dictionary, or as a null code
        codes = [None if v is None and nulls else words.index(v) for v in values]
        return pa.DictionaryArray.from_arrays(
            pa.array(codes, kind.index_type), pa.array(words, kind.value_type)
        )

    def _lengths(self, size: int) -> tuple[list[bool], list[int]]:
        lengths = st.lists(st.integers(0, 2), min_size=size, max_size=size)
        return self._flags(size), self._draw(lengths)

    def _list(self, item: Fields, size: int) -> tuple[list[Any], pa.Array]:
        present, lengths = self._lengths(size)
        offsets = [sum(lengths[:n]) for n in range(size + 1)]
        exist = [True] * offsets[-1] if not self._spoiled else self._flags(offsets[-1], 9)
        items, array = self._struct(item, exist)
        large = self._draw(st.booleans())
        made = (pa.LargeListArray if large else pa.ListArray).from_arrays(
            pa.array(offsets, pa.int64() if large else pa.int32()),
            array,
            mask=pa.array([not p for p in present], pa.bool_()),
        )
        return _cut(items, offsets, present), made

    def _map(self, size: int) -> tuple[list[Any], pa.Array]:
        """Return params as a map from keys to one kind of values, or to structs."""
        present, lengths = self._lengths(size)
        offsets = [sum(lengths[:n]) for n in range(size + 1)]
        keys, key_array = self._leaf(TEXT, [True] * offsets[-1])
        kind = self._draw(st.sampled_from([*VALUES, "struct"]))
        params: list[dict[str, Any]] = [{"key": key} for key in keys]
        if kind == "struct":
            values, array = self._struct(VALUES, [True] * offsets[-1])
            params = [{**p, **v} for p, v in zip(params, values, strict=True)]
        else:
            values, array = self._leaf(VALUES[kind], self._flags(offsets[-1]))
            for param, value in zip(params, values, strict=True):
                if value is not ABSENT:
                    param[kind] = value
        entries = pa.StructArray.from_arrays(
            [key_array, array],
            fields=[pa.field("key", key_array.type, nullable=False), pa.field("value", array.type)],
        )
        validity = pa.array(present, pa.bool_()).buffers()[1]
        made = pa.Array.from_buffers(
            pa.map_(key_array.type, array.type), size,
            [validity, pa.array(offsets, pa.int32()).buffers()[1]], children=[entries],
        )  # fmt: skip
        return _cut(list(map(_sorted, params)), offsets, present), made

    def _unknown(self, size: int) -> pa.Array:
        kinds = [
            pa.null(),
            pa.list_(pa.string_view()),
            pa.struct({"name": pa.string()}),
            pa.duration("s"),
        ]
        return pa.array([None] * size, self._draw(st.sampled_from(kinds)))


def _sorted(value: dict[str, Any]) -> dict[str, Any]:
    """Sort the keys. Only the first error of an event is told, and columns have no such order."""
    return dict(sorted(value.items()))


def _cut(items: list[Any], offsets: Sequence[int], present: Sequence[bool]) -> list[Any]:
    """Return lists of the items, ABSENT where a list is not present and hides its items."""
    return [items[offsets[n] : offsets[n + 1]] if p else ABSENT for n, p in enumerate(present)]
