"""Query parameters to a frozen Query; whatever is not on a closed list becomes a bound value."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from metrics_api.calendar.moments import UNITS, Unit
from metrics_api.errors import ParameterError
from metrics_api.query.dimensions import TIME_UNITS, Dimension, parse_dimension
from metrics_api.query.filters import Filter, parse_filters
from metrics_api.query.measures import MEASURES_MAX, Measure, parse_measure
from metrics_api.query.query_string import Parameters
from metrics_api.query.times import COMPARISONS, Comparison, Range, parse_range

Consistency = Literal["eventual", "flushed"]
CONSISTENCIES: tuple[Consistency, ...] = get_args(Consistency)
GROUPINGS_MAX = 5
LIMIT_DEFAULT, LIMIT_MAX = 1_000, 10_000
TOP_DEFAULT = 10
UNLIMITED = {"channel", "platform", "minute", "hourly", "daily", "weekly", "monthly"}
"""Dimensions with few values, or as many as the range says: all are given when none else is asked
for, unless there is a limit."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events a question is about; names: any of them, of none for all."""

    names: tuple[str, ...]
    range: Range
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """What is computed of a selection. order: `key`, or the name of a measure, largest first;
    limit: of the groups, None for all; other: whether the rest is a group too."""

    selection: Selection
    groups: tuple[Dimension, ...] = ()
    interval: Unit | None = None
    measures: tuple[Measure, ...] = ()
    order: str = "key"
    descending: bool = False
    limit: int | None = None
    other: bool = True
    fill: bool = False
    compare: Comparison | None = None
    approximate: bool = False

    def compared(self) -> "Query | None":
        """The same of the range to compare with, if one was asked for."""
        if self.compare is None:
            return None
        selected = self.selection
        shifted = replace(selected, range=selected.range.compared(self.compare))
        return replace(self, selection=shifted, compare=None)


def _almost(parameters: Parameters) -> str:
    """What was sent in the place of `event_name`, perhaps: as PHP and some clients name a list."""
    names = [name for name, _ in parameters.pairs if "event" in name.lower()]
    return f": {names[0][:100]!r} is not known" if names else ""


def parse_query(parameters: Parameters, *, now_us: int) -> Query:
    """The query that `parameters` ask for, `to` being `now_us` when left out.

    Raises ParameterError.
    """
    parameters.choice("consistency", CONSISTENCIES)
    names = parameters.many("event_name")
    if not names:
        raise ParameterError(f"Query parameter event_name is required{_almost(parameters)}")
    groups = parse_groups(parameters)
    interval = parameters.choice("interval", UNITS)
    times = [TIME_UNITS[group.name] for group in groups if group.kind == "time"]
    longest = max(times, key=UNITS.index) if times else interval
    parsed = parse_range(parameters, now_us=now_us, buckets=longest)
    measures = parse_measures(parameters)
    limit = parameters.integer("limit", low=1, high=LIMIT_MAX)
    if limit is None and any(group.name not in UNLIMITED for group in groups):
        limit = LIMIT_DEFAULT
    order, descending = parse_order(parameters, measures)
    query = Query(
        Selection(tuple(names), parsed),
        groups,
        interval,
        measures,
        order,
        descending,
        limit,
        parameters.choice("other", ("true", "false")) != "false",
        parameters.flag("fill"),
        parameters.choice("compare", COMPARISONS),
        parameters.flag("approximate"),
    )
    if query.interval and any(group.kind == "time" for group in groups):
        raise ParameterError("Query parameter interval does not go with a time in group_by")
    if query.fill and not query.interval and [group.kind for group in groups] != ["time"]:
        raise ParameterError("Query parameter fill needs interval, or one time in group_by")
    return replace(query, selection=replace(query.selection, filters=filters_of(parameters)))


def parse_top(parameters: Parameters, *, now_us: int) -> Query:
    """The values of one dimension that have the most events, of any name. Raises ParameterError."""
    dimension = parse_dimension(parameters.one("dimension") or "event_name", "dimension")
    measures = parse_measures(parameters)
    limit = parameters.integer("limit", low=1, high=LIMIT_MAX) or TOP_DEFAULT
    order, descending = parse_order(parameters, measures, "-total_count")
    approximate = parameters.flag("approximate")
    return Query(
        parse_selection(parameters, now_us=now_us, has_items=True),
        (dimension,),
        measures=measures,
        order=order,
        descending=descending,
        limit=limit,
        other=False,
        approximate=approximate,
    )


def parse_groups(parameters: Parameters) -> tuple[Dimension, ...]:
    """From `group_by`: several, or one with commas between. Raises ParameterError."""
    names = [
        name
        for value in parameters.many("group_by")
        # The key of a param may have a comma in it: then it stands alone.
        for name in ([value] if "param." in value else value.split(","))
    ]
    if len(names) > GROUPINGS_MAX or len(set(names)) < len(names):
        raise ParameterError(
            f"Query parameter group_by takes {GROUPINGS_MAX} dimensions at most, each once"
        )
    return tuple(parse_dimension(name, "group_by") for name in names)


def parse_measures(parameters: Parameters) -> tuple[Measure, ...]:
    """Raises ParameterError."""
    texts = list(dict.fromkeys(parameters.many("measure")))
    if len(texts) > MEASURES_MAX:
        raise ParameterError(f"Query parameter measure may be given {MEASURES_MAX} times at most")
    return tuple(parse_measure(text) for text in texts)


def parse_order(
    parameters: Parameters, measures: tuple[Measure, ...], default: str = "key"
) -> tuple[str, bool]:
    """(by what, whether largest first). Raises ParameterError."""
    text = parameters.one("order") or default
    order = text.removeprefix("-")
    known = ["key", "total_count", "unique_user_count", *(measure.name for measure in measures)]
    if order not in known:
        raise ParameterError(
            f"Query parameter order must be one of {', '.join(known)}, with - before it for the"
            " largest first"
        )
    return order, text.startswith("-")


def parse_selection(parameters: Parameters, *, now_us: int, has_items: bool = False) -> Selection:
    """What every other question has: `event_name` for some events alone, a range, filters.

    has_items: whether these may be of items. To be called last, for what no one took is a filter.
    Raises ParameterError.
    """
    parameters.choice("consistency", CONSISTENCIES)
    names = tuple(parameters.many("event_name"))
    parsed = parse_range(parameters, now_us=now_us)
    filters = filters_of(parameters)
    if not has_items:
        refuse_items(filters)
    return Selection(names, parsed, filters)


def filters_of(parameters: Parameters) -> tuple[Filter, ...]:
    """What no one took. Raises ParameterError."""
    return parse_filters(parameters.left(), parameters.known)


def refuse_items(filters: tuple[Filter, ...]) -> None:
    """Raises ParameterError when one of `filters` is of items."""
    if any(filter_.dimension.kind == "item" for filter_ in filters):
        raise ParameterError("Filters by items are for /events/metrics and /events/top alone")
