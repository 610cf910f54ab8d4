"""Query to SQL and bound parameters. Pure: no input ever becomes part of the SQL text.

A SELECT around a SELECT, from the inside: the rows of the events, with what they are grouped by and
measured in; groups beyond the limit made one; and the aggregation over the groups, over their
buckets of time, and over all at once.

Where items matter (a dimension of an item is grouped or filtered by) a row is an event's item at
first, and is made an event again before it is counted.
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
    """Rows are (is of a group, is of a bucket, is the other group, *keys, bucket, count, users,
    *measures), in no order."""
    return _Builder(query).statement()


class _Builder:
    """The columns: `g` and `k` with a number are keys as the event has them and as they are shown,
    `r` and `m` the measures' numbers by row and by event."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._bindings = Bindings()
        filtered = [filter_.dimension for filter_ in query.selection.filters]
        self._is_of_items = any(d.kind == "item" for d in [*query.groups, *filtered])
        self._is_rolled_up = can_be_rolled_up(query)

    def statement(self) -> Statement:
        groups = range(len(self._query.groups))
        if any(group.kind == "item" for group in self._query.groups):
            # An event is in the groups of all its items, so they do not add up to the total.
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
        """A row for each event and its keys."""
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
        """A row for each event, or for each item of it."""
        query, bindings = self._query, self._bindings
        bounds = query.selection.range
        columns = [f"{query.groups[n].text(bindings, bounds)} AS g{n}" for n in groups]
        time = bucket(query.interval, bindings, bounds) if query.interval else "''"
        columns.append(f"{time} AS bucket")
        if self._is_rolled_up:
            is_hourly = query.interval == "hour" or any(g.name == "hourly" for g in query.groups)
            by = HOUR_US if is_hourly else DAY_US
            return rolled_up_rows(query.selection, ", ".join(columns), bindings, by=by)
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
        """Shows the keys, but those of the `other`, and makes items events."""
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
        """By their names in the reply."""
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
