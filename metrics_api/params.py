"""Query parameters to a frozen Query; whatever is not on a closed list becomes a bound value."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeVar, get_args

from metrics_api.errors import ParameterError

GroupBy = Literal["channel", "daily", "hourly"]
Consistency = Literal["eventual", "flushed"]
GROUPS: tuple[GroupBy, ...] = get_args(GroupBy)
CONSISTENCIES: tuple[Consistency, ...] = get_args(Consistency)
PARAMETERS = ("event_name", "from", "to", "group_by", "consistency")

EARLIEST_TEXT = "0001-01-01T00:00:00Z"
"""How the reply prints a `from` that was not given."""

Choice = TypeVar("Choice", bound=str)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_RFC_3339 = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[Tt ](?P<time>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d+))?"
    r"(?P<zone>[Zz]|[+-]\d\d:\d\d)"
)


@dataclass(frozen=True, slots=True)
class Instant:
    """us: µs since 1970; text: as the reply prints it, in the offset it was given in."""

    us: int
    text: str


@dataclass(frozen=True, slots=True)
class Query:
    """start and end are both inclusive; a start of None has no lower bound."""

    event_name: str
    start: Instant | None
    end: Instant
    group_by: GroupBy | None
    consistency: Consistency


def parse_query(parameters: Mapping[str, str | Sequence[str]], *, now_us: int) -> Query:
    """The query that `parameters` ask for, `to` being `now_us` when left out.

    Raises ParameterError.
    """
    unknown = sorted(set(parameters) - set(PARAMETERS))
    if unknown:
        raise ParameterError(
            f"Query parameter {unknown[0][:100]!r} is not known: known are {', '.join(PARAMETERS)}"
        )
    values: dict[str, str] = {}
    for name, value in parameters.items():
        if not isinstance(value, str):
            raise ParameterError(f"Query parameter {name} must be given once")
        values[name] = value
    event_name = values.get("event_name", "")
    if not event_name:
        raise ParameterError("Query parameter event_name is required")
    if "\0" in event_name:
        raise ParameterError("Query parameter event_name must not contain the NUL character")
    start = parse_instant("from", values["from"]) if values.get("from") else None
    end = parse_instant("to", values["to"]) if values.get("to") else _printed(now_us)
    if start is not None and start.us > end.us:
        raise ParameterError("Query parameter from must not be later than to")
    group_by = values.get("group_by") or None
    consistency = values.get("consistency") or "eventual"
    return Query(
        event_name,
        start,
        end,
        None if group_by is None else _one_of("group_by", group_by, GROUPS),
        _one_of("consistency", consistency, CONSISTENCIES),
    )


def parse_instant(name: str, text: str) -> Instant:
    """An RFC 3339 date-time. Raises ParameterError naming the parameter `name`."""
    # An offset's "+" that was not percent-encoded arrives as a space.
    text = re.sub(r" (?=\d\d:\d\d$)", "+", text)
    match = _RFC_3339.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        fraction = (match["fraction"] or "").rstrip("0")
        zone = match["zone"].upper().replace("-00:00", "Z").replace("+00:00", "Z")
        moment = datetime.fromisoformat(
            f"{match['day']}T{match['time']}{zone.replace('Z', '+00:00')}"
        )
        us = (moment - _EPOCH) // _MICROSECOND + int(fraction[:6].ljust(6, "0"))
    except (ValueError, OverflowError) as error:
        raise ParameterError(
            f"Query parameter {name} must be an RFC 3339 time such as 2024-01-15T10:00:00Z"
        ) from error
    printed = f"{match['day']}T{match['time']}{'.' + fraction if fraction else ''}{zone}"
    return Instant(us, printed)


def _printed(us: int) -> Instant:
    moment = _EPOCH + timedelta(microseconds=us)
    return Instant(us, moment.strftime("%Y-%m-%dT%H:%M:%SZ"))


def _one_of(name: str, value: str, known: Sequence[Choice]) -> Choice:
    for choice in known:
        if choice == value:
            return choice
    raise ParameterError(f"Query parameter {name} must be one of {', '.join(known)}")
