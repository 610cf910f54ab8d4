"""Build the SQL of a metrics query. Input is bound, and never becomes part of the SQL text.

The statement is nested. From the inside to the outside:

1. Select the events, with their group keys, their time bucket and the numbers to measure.
2. Merge the groups beyond the limit into one, the other group.
3. Aggregate by group, by group and bucket, by bucket, and over everything.

If a query groups or filters by a dimension of items, the innermost rows are items. They are merged
into events again before they are counted.
"""

from collections.abc import Sequence

from metrics_api.endpoints.metrics_rollup import ROLLUP_AGGREGATES, can_be_rolled_up, rolled_up_rows
from metrics_api.query.dimensions import bucket
from metrics_api.query.measures import Measure
from metrics_api.query.params import Query
from metrics_api.query.selection import EVENT, select_rows
from metrics_api.query.statement import Bindings, Statement
from storage.tables.rollups import DAY_US, HOUR_US


def build_sql(query: Query) -> Statement:
    """Build the statement of a metrics query.

    Returns:
        A statement with rows in any order. The columns are three flags, one key for each dimension,
        the bucket, the event count, the user count, and one number for each measure. The flags say
        whether the row is of a group, of a bucket, and of the other group.
    """
    return _Builder(query).statement()


class _Builder:
    """Builds the statement of one query.

    Names of columns end in the index of the group or measure: `g0` is a key of the event, `k0` the
    key shown (empty in the other group), `r0` the number of a row, `m0` the number of an event.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self._bindings = Bindings()
        filtered = [filter_.dimension for filter_ in query.selection.filters]
        self._is_of_items = any(d.kind == "item" for d in [*query.groups, *filtered])
        self._is_rolled_up = can_be_rolled_up(query)

    def statement(self) -> Statement:
        groups = range(len(self._query.groups))
        if any(group.kind == "item" for group in self._query.groups):
            # An event is in the group of each of its items. So the groups do not add up to the
            # total, and the total has a SELECT of its own.
            selects = [
                self._aggregated(groups, is_total_too=False),
                self._aggregated([], is_total_too=True),
            ]
        else:
            selects = [self._aggregated(groups, is_total_too=True)]
        return Statement(" UNION ALL ".join(selects), self._bindings.values)

    def _aggregated(self, groups: Sequence[int], *, is_total_too: bool) -> str:
        query = self._query
        keys = [f"k{number}" for number in groups]
        shown = keys or ["''"] * len(query.groups)
        sets = [["other", *keys]] if keys else []
        sets += [[]] if is_total_too else []
        if query.interval:
            sets += [[*columns, "bucket"] for columns in sets]
        columns = [
            "grouping(other) = 0" if keys else "0",
            "grouping(bucket) = 0" if query.interval else "0",
            "other" if keys else "0",
            *shown,
            "bucket" if query.interval else "''",
            *self._aggregates().values(),
        ]
        select = f"SELECT {', '.join(columns)} FROM ({self._events(groups)})"
        if sets == [[]]:
            return select
        listed = ", ".join(f"({', '.join(columns)})" for columns in sets)
        return f"{select} GROUP BY GROUPING SETS ({listed})"

    def _events(self, groups: Sequence[int]) -> str:
        """Build a SELECT with one row for each event and combination of keys."""
        rows = self._rows(groups)
        if not groups or self._query.limit is None:
            return self._by_event(rows, groups, "0")
        keys = ", ".join(f"k{number}" for number in groups)
        raw = ", ".join(f"g{number}" for number in groups)
        limit = self._bindings.integer(self._query.limit)
        first = (
            f"SELECT {keys} FROM ({self._by_event(rows, groups, '0')}) GROUP BY {keys}"
            f" ORDER BY {self._order(groups)} LIMIT {limit}"
        )
        return self._by_event(rows, groups, f"({raw}) NOT IN ({first})")

    def _rows(self, groups: Sequence[int]) -> str:
        """Build a SELECT with one row for each event, or for each item if items matter."""
        query, bindings = self._query, self._bindings
        bounds = query.selection.range
        columns = [f"{query.groups[n].text(bindings, bounds)} AS g{n}" for n in groups]
        time = bucket(query.interval, bindings, bounds) if query.interval else "''"
        columns.append(f"{time} AS bucket")
        if self._is_rolled_up:
            is_hourly = query.interval == "hour" or any(g.name == "hourly" for g in query.groups)
            return rolled_up_rows(
                query.selection,
                ", ".join(columns),
                bindings,
                max_bucket_us=HOUR_US if is_hourly else DAY_US,
            )
        columns += [
            f"{self._value(measure)} AS r{number}" for number, measure in enumerate(query.measures)
        ]
        columns += [EVENT, "event_time"]
        return select_rows(query.selection, ", ".join(columns), bindings, items=self._is_of_items)

    def _value(self, measure: Measure) -> str:
        if not measure.number:
            return "0"
        if self._is_of_items and measure.is_of_items:
            return measure.item_value()
        return measure.value(self._bindings)

    def _by_event(self, rows: str, groups: Sequence[int], other: str) -> str:
        """Build a SELECT around `rows` that adds the keys shown and merges items into events.

        Args:
            rows: SELECT of `_rows`.
            groups: indexes of the groups.
            other: SQL condition that a row belongs to the other group.
        """
        keys = [f"if(other, '', g{number}) AS k{number}" for number in groups]
        numbers = range(len(self._query.measures))
        marked = f"SELECT *, {other} AS other FROM ({rows})"
        if not self._is_of_items:
            values = [f"r{number} AS m{number}" for number in numbers]
            return f"SELECT {', '.join(['*', *keys, *values])} FROM ({marked})"
        values = [
            f"{measure.of_items(f'r{number}')} AS m{number}"
            for number, measure in enumerate(self._query.measures)
        ]
        by = [EVENT, "event_time", "user_hash", "bucket", "other"]
        grouped = ", ".join(by + [f"k{number}" for number in groups])
        return f"SELECT {', '.join(by + keys + values)} FROM ({marked}) GROUP BY {grouped}"

    def _order(self, groups: Sequence[int]) -> str:
        query = self._query
        direction = " DESC" if query.descending else ""
        if query.order == "key":
            return ", ".join(f"k{number}{direction}" for number in groups)
        keys = ", ".join(f"k{number}" for number in groups)
        by = self._aggregates().get(query.order)
        for number, measure in enumerate(query.measures):
            if measure.name == query.order:
                by = measure.order(f"m{number}", approximate=query.approximate)
        return f"{by}{direction} NULLS LAST, {keys}"

    def _aggregates(self) -> dict[str, str]:
        """Return the SQL of each number by its name in the query result."""
        if self._is_rolled_up:
            return ROLLUP_AGGREGATES
        approximate = self._query.approximate
        uniq = "uniq" if approximate else "uniqExact"
        aggregates = {
            "total_count": "count()",
            "unique_user_count": f"{uniq}If(user_hash, user_hash != 0)",
        }
        for number, measure in enumerate(self._query.measures):
            aggregates[measure.name] = measure.aggregate(f"m{number}", approximate=approximate)
        return aggregates
