"""Query to SQL and bound parameters. Pure: no input ever becomes part of the SQL text."""

from collections.abc import Mapping
from typing import Any

from metrics_api.params import GroupBy, Query
from storage.schema import EVENTS_TABLE

TIME_MAX_US = 10_413_791_999_999_999
"""The last instant that a DateTime64 column holds: the end of 2299."""

_USER = "if(user_id != '', user_id, user_pseudo_id)"
_MEASURES = f"count(), uniqExactIf({_USER}, {_USER} != '')"
_GROUP_KEYS: Mapping[GroupBy, str] = {
    "channel": "toString(channel_type)",
    "daily": "formatDateTime(event_time, '%Y-%m-%d', 'UTC')",
    "hourly": "formatDateTime(event_time, '%Y-%m-%d %H:00:00', 'UTC')",
}
_EPOCH = "fromUnixTimestamp64Micro(0, 'UTC')"


def build_sql(query: Query) -> tuple[str, dict[str, Any]]:
    """(SQL, parameters). Rows are (group key, count, unique users), by key.

    With a grouping the rows of the groups are followed by the total, whose key is ''; without one
    there is the total alone.
    """
    parameters: dict[str, Any] = {
        "event_name": query.event_name,
        "end": min(max(query.end.us, -1), TIME_MAX_US),
    }
    conditions = ["name = {event_name:String}", *_within("<=", "end")]
    if query.start is not None:
        parameters["start"] = min(max(query.start.us, 0), TIME_MAX_US)
        conditions += _within(">=", "start")
    where = " AND ".join(conditions)
    # A month is the same in every copy of an event, so FINAL need not look across months.
    source = (
        f"FROM {EVENTS_TABLE} FINAL WHERE {where}"
        " {tail} SETTINGS do_not_merge_across_partitions_select_final = 1"
    )
    if query.group_by is None:
        return f"SELECT '', {_MEASURES} " + source.replace("{tail}", ""), parameters
    key = _GROUP_KEYS[query.group_by]
    tail = "GROUP BY GROUPING SETS ((key), ()) ORDER BY grouping(key), key"
    return f"SELECT {key} AS key, {_MEASURES} " + source.replace("{tail}", tail), parameters


def _within(operator: str, name: str) -> list[str]:
    """The bound on the event time, and the same on the sort key, which prunes.

    The key's time is the event's own, but for an event whose time is that of its arrival and must
    not be in the key: there it is the epoch.
    """
    bound = f"fromUnixTimestamp64Micro({{{name}:Int64}}, 'UTC')"
    return [
        f"event_time {operator} {bound}",
        f"(key_time {operator} {bound} OR key_time = {_EPOCH})",
    ]
