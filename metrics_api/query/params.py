"""Parse query parameters into a frozen Query.

A value is either on a closed list or becomes a bound value of the SQL.
"""

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
"""Maximum number of dimensions in `group_by`."""
LIMIT_DEFAULT, LIMIT_MAX = 1_000, 10_000
"""Groups that are returned."""
TOP_DEFAULT = 10
"""Groups that /events/top returns when no limit is given."""
UNLIMITED = {"channel", "platform", "minute", "hourly", "daily", "weekly", "monthly"}
"""Dimensions with few values, or with as many as the range has.

A query that groups only by these has no default limit.
"""


@dataclass(frozen=True, slots=True)
class Selection:
    """The events that a query looks at.

    Attributes:
        names: only events with one of these names; empty for all events.
        range: bounds of the event time.
        filters: all must match.
    """

    names: tuple[str, ...]
    range: Range
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """A metrics query, parsed.

    Attributes:
        selection: events to look at.
        groups: dimensions to group by.
        interval: length of the points of a series, None for no series.
        measures: computed next to the event count and the user count.
        order: what groups are ordered by: `key`, `total_count`, `unique_user_count` or the name of
            a measure.
        descending: whether the largest group comes first.
        limit: maximum number of groups, None for all.
        other: whether groups beyond the limit are merged into one.
        fill: whether times without events are included.
        compare: earlier range to compare with.
        approximate: whether estimates are good enough.
    """

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
        """Return the same query of the range to compare with, or None if there is none."""
        if self.compare is None:
            return None
        selected = self.selection
        shifted = replace(selected, range=selected.range.compared(self.compare))
        return replace(self, selection=shifted, compare=None)


def _almost(parameters: Parameters) -> str:
    """Return a hint at a parameter that may be a misspelled `event_name`, or an empty text.

    PHP and some other clients write lists as `event_name[]`.
    """
    names = [name for name, _ in parameters.pairs if "event" in name.lower()]
    return f": {names[0][:100]!r} is not known" if names else ""


def parse_query(parameters: Parameters, *, now_us: int) -> Query:
    """Parse the parameters of /events/metrics.

    Args:
        parameters: query parameters of the request.
        now_us: present time, in µs since 1970; the default of `to`.

    Raises:
        ParameterError: A parameter is missing or wrong, or two of them contradict each other.
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
    """Parse the parameters of /events/top.

    Args:
        parameters: query parameters of the request.
        now_us: present time, in µs since 1970; the default of `to`.

    Raises:
        ParameterError: A parameter is wrong.
    """
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
    """Parse `group_by`. Dimensions may be given one by one, or separated by commas.

    Raises:
        ParameterError: There are too many, one is there twice, or one does not exist.
    """
    names = [
        name
        for value in parameters.many("group_by")
        # The key of a param may contain a comma, so a param must be given by itself.
        for name in ([value] if "param." in value else value.split(","))
    ]
    if len(names) > GROUPINGS_MAX or len(set(names)) < len(names):
        raise ParameterError(
            f"Query parameter group_by takes {GROUPINGS_MAX} dimensions at most, each once"
        )
    return tuple(parse_dimension(name, "group_by") for name in names)


def parse_measures(parameters: Parameters) -> tuple[Measure, ...]:
    """Parse `measure`, which may be given several times.

    Raises:
        ParameterError: There are too many, or one does not exist.
    """
    texts = list(dict.fromkeys(parameters.many("measure")))
    if len(texts) > MEASURES_MAX:
        raise ParameterError(f"Query parameter measure may be given {MEASURES_MAX} times at most")
    return tuple(parse_measure(text) for text in texts)


def parse_order(
    parameters: Parameters, measures: tuple[Measure, ...], default: str = "key"
) -> tuple[str, bool]:
    """Parse `order`.

    Args:
        parameters: query parameters of the request.
        measures: measures by which groups may be ordered.
        default: order if none is given.

    Returns:
        What groups are ordered by, and whether the largest comes first.

    Raises:
        ParameterError: The order is not one of the keys, counts and measures.
    """
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
    """Parse `event_name`, the range and the filters.

    Call it after all other parameters were taken, because the rest are filters.

    Args:
        parameters: query parameters of the request.
        now_us: present time, in µs since 1970; the default of `to`.
        has_items: whether filters by items are allowed.

    Raises:
        ParameterError: A parameter is wrong or unknown.
    """
    parameters.choice("consistency", CONSISTENCIES)
    names = tuple(parameters.many("event_name"))
    parsed = parse_range(parameters, now_us=now_us)
    filters = filters_of(parameters)
    if not has_items:
        refuse_items(filters)
    return Selection(names, parsed, filters)


def filters_of(parameters: Parameters) -> tuple[Filter, ...]:
    """Parse all parameters that were not taken as filters.

    Raises:
        ParameterError: One of them is no filter.
    """
    return parse_filters(parameters.left(), parameters.known)


def refuse_items(filters: tuple[Filter, ...]) -> None:
    """Refuse filters by dimensions of items.

    Raises:
        ParameterError: There is such a filter.
    """
    if any(filter_.dimension.kind == "item" for filter_ in filters):
        raise ParameterError("Filters by items work only for /events/metrics and /events/top")
