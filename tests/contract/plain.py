"""Compute metrics, funnels and retention with plain loops over events.

Tests compare query results with these. There is no SQL, and no code is shared with the product.
"""

import math
import re
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import tzdata

COLUMNS = {
    "channel": ("channel_type",), "platform": ("channel_type",), "event_name": ("name",),
    "device_category": ("device", "category"), "os": ("device", "operating_system"),
    "browser": ("device", "browser_name"), "hostname": ("device", "hostname"),
    "country": ("geo", "country"), "city": ("geo", "city"), "app_id": ("app_info", "id"),
}  # fmt: skip
"""Dimensions to the path of their value in an event."""
TIMES = {"minute": "minute", "hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month"}
"""Dimensions of time to the length of their buckets."""
ITEMS = {"item_id": "id", "item_name": "name", "item_brand": "brand"}
"""Dimensions of items to their fields."""


@dataclass
class MetricsQuery:
    """Parameters of /events/metrics. `MetricsQuery.pairs` writes them as a query string."""

    names: list[str]
    start: datetime | None = None
    end: datetime = datetime(2100, 1, 1, tzinfo=UTC)
    tz: str = "UTC"
    groups: list[str] = field(default_factory=list)
    filters: list[tuple[str, str, list[str]]] = field(default_factory=list)
    measures: list[str] = field(default_factory=list)
    interval: str | None = None
    order: str = "key"
    descending: bool = False
    limit: int | None = None
    other: bool = True
    approximate: bool = False

    def pairs(self) -> list[tuple[str, str]]:
        """Return the pairs of a query string."""
        pairs = [("event_name", name) for name in self.names]
        if self.start is not None:
            pairs.append(("from", self.start.isoformat()))
        pairs += [("to", self.end.isoformat()), ("tz", self.tz)]
        pairs += [("group_by", group) for group in self.groups]
        pairs += [("measure", measure) for measure in self.measures]
        pairs.append(("order", ("-" if self.descending else "") + self.order))
        for name, value in (("interval", self.interval), ("limit", self.limit)):
            if value is not None:
                pairs.append((name, str(value)))
        if not self.other:
            pairs.append(("other", "false"))
        if self.approximate:
            pairs.append(("approximate", "true"))
        for dimension, operator, values in self.filters:
            for value in values:
                if operator in ("<", ">"):
                    pairs.append((f"{dimension}{operator}{value}", ""))
                else:
                    pairs.append((dimension + operator[:-1], value))
        return pairs


def instant(event: dict[str, Any]) -> datetime:
    """Return the event time."""
    moment: datetime = event["at"]
    return moment


def user(event: dict[str, Any]) -> str:
    """Return the user of an event, or an empty text."""
    return event.get("user_id") or event.get("user_pseudo_id") or ""


def param(event: dict[str, Any], dimension: str) -> dict[str, Any]:
    """Return the first param that a dimension such as `param.value` names, or an empty dict."""
    kind, _, key = dimension.partition(".")
    for entry in event.get("event_params" if kind == "param" else "user_params") or []:
        if entry["key"] == key:
            return dict(entry)
    return {}


def text(event: dict[str, Any], dimension: str, tz: str, item: dict[str, Any]) -> str:
    """Return the value of a dimension, or an empty text."""
    if dimension in TIMES:
        return bucket(instant(event), TIMES[dimension], tz)
    if dimension in ITEMS:
        return item.get(ITEMS[dimension]) or ""
    if dimension == "user":
        return user(event)
    if "param." in dimension:
        entry = param(event, dimension)
        if entry.get("string_value") is not None:
            return str(entry["string_value"])
        if entry.get("number_value") is not None:
            number = entry["number_value"] or 0  # not -0.0
            if number == int(number) and abs(number) < 10**21:
                return str(int(number))
            return re.sub(r"e\+?(-?)0*", r"e\1", repr(number))  # 1e-7, 1e308
        if entry.get("boolean_value") is not None:
            return "true" if entry["boolean_value"] else "false"
        return ""
    value: Any = event
    for name in COLUMNS[dimension]:
        value = (value or {}).get(name)
    return value or ""


@cache
def zone(name: str) -> ZoneInfo:
    """Return a zone with the rules of the package tzdata. Those of the system may be older."""
    with (Path(tzdata.__file__).parent / "zoneinfo" / name).open("rb") as file:
        return ZoneInfo.from_file(file, name)


def bucket(moment: datetime, unit: str, tz: str) -> str:
    """Return the name of the minute, hour, day, week or month of an instant."""
    local = moment.astimezone(zone(tz))
    offset = "" if tz == "UTC" else "%z"
    if unit == "week":
        local -= timedelta(days=local.weekday())
    shapes = {"minute": f"%Y-%m-%d %H:%M:00{offset}", "hour": f"%Y-%m-%d %H:00:00{offset}"}
    return local.strftime(shapes.get(unit, "%Y-%m" if unit == "month" else "%Y-%m-%d"))


def passes(
    event: dict[str, Any], item: dict[str, Any], dimension: str, operator: str, values: list[str]
) -> bool:
    """Return whether an event, or one of its items, passes a filter."""
    if operator in (">=", "<=", ">", "<"):
        number = param(event, dimension).get("number_value")
        tests = {
            ">=": lambda a, b: a >= b, "<=": lambda a, b: a <= b,
            ">": lambda a, b: a > b, "<": lambda a, b: a < b,
        }  # fmt: skip
        return number is not None and all(tests[operator](number, float(v)) for v in values)
    have = text(event, dimension, "UTC", item)
    plain = operator.removeprefix("!")
    if plain == "=":
        found = have in values
        if "param." in dimension and not found:
            number = param(event, dimension).get("number_value")
            found = number is not None and number in [
                n for v in values if (n := _float(v)) is not None
            ]
    elif plain == "^=":
        found = any(have.startswith(value) for value in values)
    else:
        found = any(value in have for value in values)
    return found != operator.startswith("!")


def _float(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def worth(number: float) -> Fraction:
    """Return a price as the decimal it is written as, any other number as its binary fraction."""
    decimal = Fraction(repr(number))
    is_price = (decimal * 10**6).denominator == 1 and abs(number) < 10**9
    return decimal if is_price else Fraction(number)


def nearest(exact: Fraction) -> float:
    """Return the nearest float. It is never infinite."""
    try:
        return float(exact)
    except OverflowError:
        return sys.float_info.max if exact > 0 else -sys.float_info.max


def numbers(event: dict[str, Any], items: list[dict[str, Any]], what: str) -> float | int | None:
    """Return the number of an event: a param, or the sum of a number of its items."""
    if what in ("revenue", "quantity"):
        name = "revenue_in_usd" if what == "revenue" else "quantity"
        have = [item[name] for item in items if item.get(name) is not None]
        if what == "quantity":
            return sum(have) if have else None
        return nearest(sum(map(worth, have), Fraction())) if have else None
    value = param(event, what).get("number_value")
    return None if value is None else float(value)


def measure(name: str, chosen: list[tuple[dict[str, Any], list[dict[str, Any]]]]) -> float | None:
    """Compute a measure such as `sum:param.value` of (event, its items)."""
    if name == "events_per_user":
        users = [user(event) for event, _ in chosen if user(event)]
        return len(users) / len(set(users)) if users else None
    function, _, what = name.partition(":")
    if not what:
        function, what = "sum", name
    values = sorted(
        value for event, items in chosen if (value := numbers(event, items, what)) is not None
    )
    if not values:
        return None
    match function:
        case "sum" if what == "quantity":
            return sum(values)
        case "sum":
            return nearest(sum(map(worth, values), Fraction()))
        case "avg" if what == "quantity":
            return nearest(Fraction(sum(values)) / len(values))
        case "avg":
            return nearest(sum(map(worth, values), Fraction()) / len(values))
        case "min":
            return values[0]
        case "max":
            return values[-1]
    percent = Fraction("50" if function == "median" else function[1:])
    rank = math.ceil(percent / 100 * len(values))
    return values[max(rank, 1) - 1]


def metrics(events: list[dict[str, Any]], query: MetricsQuery) -> dict[str, Any]:
    """Compute the query result of /events/metrics.

    Args:
        events: without duplicates. Each has its time under `at`.
        query: the query.

    Returns:
        The counts, measures, series and groups of the document.
    """
    of_items = any(d in ITEMS for d in query.groups + [f[0] for f in query.filters])
    chosen: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    for event in events:
        if event["name"] not in query.names or instant(event) > query.end:
            continue
        if query.start is not None and instant(event) < query.start:
            continue
        if not of_items:
            if all(passes(event, {}, *f) for f in query.filters):
                chosen.append((event, event.get("items") or []))
            continue
        items = event.get("items") or [{}]
        kept = [item for item in items if all(passes(event, item, *f) for f in query.filters)]
        if kept:
            chosen.append((event, kept))

    groups: dict[tuple[str, ...], list[Any]] = defaultdict(list)
    for event, items in chosen:
        by_key: dict[tuple[str, ...], list[Any]] = defaultdict(list)
        for item in items if of_items else [{}]:
            by_key[tuple(text(event, d, query.tz, item) for d in query.groups)].append(item)
        for key, own in by_key.items():
            groups[key].append((event, own if of_items else items))

    def entry(members: list[Any]) -> dict[str, Any]:
        result: dict[str, Any] = {
            "total_count": len(members),
            "unique_user_count": len({user(event) for event, _ in members} - {""}),
        }
        if query.measures:
            result["measures"] = {name: measure(name, members) for name in query.measures}
        return result

    def with_series(members: list[Any]) -> dict[str, Any]:
        result = entry(members)
        if query.interval:
            points: dict[str, list[Any]] = defaultdict(list)
            for member in sorted(members, key=lambda m: instant(m[0])):
                points[bucket(instant(member[0]), query.interval, query.tz)].append(member)
            result["series"] = [{"time": name, **entry(own)} for name, own in points.items()]
        return result

    document = with_series(chosen)
    if not query.groups or not groups:
        return document
    ordered = sorted(groups, key=_by_key)
    if query.order == "key":
        if query.descending:
            ordered.reverse()
    else:

        def by_number(key: tuple[str, ...]) -> tuple[bool, float]:
            made = entry(groups[key])
            value = made.get(query.order, made.get("measures", {}).get(query.order))
            return (value is None, (-1 if query.descending else 1) * (value or 0))

        ordered.sort(key=by_number)
    document["grouped_metrics"] = [
        {"key": key, **with_series(groups[key])} for key in ordered[: query.limit]
    ]
    left = ordered[query.limit :] if query.limit is not None else []
    document["truncated"] = bool(left)
    if left and query.other:
        merged: dict[int, tuple[Any, list[Any]]] = {}
        for key in left:
            for event, items in groups[key]:
                merged.setdefault(id(event), (event, []))[1].extend(items)
        members = [(e, i if of_items else e.get("items") or []) for e, i in merged.values()]
        document["grouped_metrics"].append({"key": "other", **with_series(members)})
    return document


def _by_key(key: tuple[str, ...]) -> list[Any]:
    """Return a sort key. Names of times are parsed: a clock that is set back breaks their order."""
    return [
        datetime.strptime(part, "%Y-%m-%d %H:%M:%S%z")
        if re.fullmatch(r".{19}[+-]\d{4}", part)
        else part
        for part in key
    ]


def funnel(
    events: list[dict[str, Any]], steps: list[str], window: timedelta, group: str | None
) -> dict[str, list[int]]:
    """Count the users that reached each step, by group. Without groups the only key is empty."""
    reached: dict[str, list[int]] = defaultdict(lambda: [0] * len(steps))
    by_user: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in sorted(events, key=instant):
        if user(event):
            by_user[user(event)].append(event)
    for own in by_user.values():
        starts = [i for i, event in enumerate(own) if event["name"] == steps[0]]
        if not starts:
            continue
        best = 0
        for start in starts:
            level, limit = 1, instant(own[start]) + window
            for event in own[start + 1 :]:
                if level < len(steps) and event["name"] == steps[level] and instant(event) <= limit:
                    level += 1
            best = max(best, level)
        name = text(own[starts[0]], group, "UTC", {}) if group else ""
        for level in range(best):
            reached[name][level] += 1
    return dict(reached)


def retention(
    events: list[dict[str, Any]], first: str | None, back: str | None, unit: str, tz: str
) -> dict[str, dict[str, int]]:
    """Count users by the period in which they began and the period in which they came back."""
    result: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    ordered = sorted((event for event in events if user(event)), key=instant)
    began: dict[str, str] = {}
    for event in ordered:
        if first is None or event["name"] == first:
            began.setdefault(user(event), bucket(instant(event), unit, tz))
    for who, period in began.items():
        result[period][period].add(who)
    for event in ordered:
        period = bucket(instant(event), unit, tz)
        if (back is None or event["name"] == back) and period > began.get(user(event), "9"):
            result[began[user(event)]][period].add(user(event))
    return {a: {b: len(users) for b, users in row.items()} for a, row in result.items()}


def range_before(first: date, days: int, tz: str) -> tuple[datetime, datetime]:
    """Return the range that comes before a number of whole days, as (first instant, end).

    Args:
        first: first of the whole days.
        days: number of days.
        tz: zone of the days.
    """
    after = first + timedelta(days=days)
    if first.day == after.day == 1:  # whole months
        before = first
        months = after.year * 12 + after.month - first.year * 12 - first.month
        for _ in range(months):
            before = (before - timedelta(days=1)).replace(day=1)
    else:
        before = first - timedelta(days=days)
    return midnight(before, tz), midnight(first, tz)


def midnight(day: date, tz: str) -> datetime:
    """Return the first instant of a day."""
    return datetime(day.year, day.month, day.day, tzinfo=zone(tz)).astimezone(UTC)
