"""Dimensions, by which events are grouped and filtered.

Each dimension is an SQL expression from a closed list, and its value is a text. The text is empty
if an event has no value. Only the key of a param comes from a client, and it is bound.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from metrics_api.calendar.moments import Unit
from metrics_api.calendar.zones import UTC_NAME
from metrics_api.errors import ParameterError
from metrics_api.query.local_time import local_time
from metrics_api.query.statement import Bindings
from metrics_api.query.times import Range
from storage.tables.schema import USER

ITEM_COLUMNS: Mapping[str, str] = {
    "item_id": "items.id",
    "item_name": "items.name",
    "item_brand": "items.brand",
    "item_variant": "items.variant",
    "item_list_name": "items.list_name",
    "item_promotion_name": "items.promotion_name",
}
"""Dimensions of items to their columns. The array join gives each column the dimension's name."""

TIME_UNITS: Mapping[str, Unit] = {
    "minute": "minute",
    "hourly": "hour",
    "daily": "day",
    "weekly": "week",
    "monthly": "month",
}
"""Dimensions of time to the length of their buckets."""
_COLUMNS: Mapping[str, str] = {
    "channel": "toString(channel_type)",
    "platform": "toString(channel_type)",
    "event_name": "toString(name)",
    "user": USER,
    "device_category": "toString(device_category)",
    "device_brand": "toString(device_mobile_brand_name)",
    "device_model": "toString(device_mobile_model_name)",
    "os": "toString(device_operating_system)",
    "os_version": "toString(device_operating_system_version)",
    "browser": "toString(device_browser_name)",
    "browser_version": "toString(device_browser_version)",
    "language": "toString(device_language)",
    "hostname": "toString(device_hostname)",
    "continent": "toString(geo_continent)",
    "sub_continent": "toString(geo_sub_continent)",
    "country": "toString(geo_country)",
    "region": "toString(geo_region)",
    "city": "toString(geo_city)",
    "metro": "toString(geo_metro)",
    "app_id": "toString(app_info_id)",
    "app_version": "toString(app_info_version)",
}
PARAM_PREFIXES: Mapping[str, str] = {"param.": "event_params", "user_param.": "user_params"}
"""Prefix of a dimension of params to the column of these params."""
KNOWN = (
    *TIME_UNITS, *_COLUMNS, *ITEM_COLUMNS, *(f"{prefix}<key>" for prefix in PARAM_PREFIXES)
)  # fmt: skip
"""All dimensions, as messages and the OpenAPI document list them."""
FILTERABLE = tuple(name for name in KNOWN if name not in TIME_UNITS)
_BUCKETS: Mapping[Unit, str] = {
    "minute": "formatDateTime({moment}, '%Y-%m-%d %H:%i:00')",
    "hour": "formatDateTime({moment}, '%Y-%m-%d %H:00:00')",
    "day": "formatDateTime({moment}, '%Y-%m-%d')",
    # Weeks begin on Monday. Date32 covers all times that an event can have.
    "week": "toString(toDate32({moment}) - (toDayOfWeek({moment}) - 1))",
    "month": "formatDateTime({moment}, '%Y-%m')",
}


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension.

    Attributes:
        name: text as clients write it.
        kind: where the value comes from.
        key: key of the param if the kind is `param`, else empty.
    """

    name: str
    kind: Literal["column", "time", "item", "param"]
    key: str = ""

    def text(self, bindings: Bindings, bounds: Range | None = None) -> str:
        """Build the SQL of the value.

        The SQL of an item's dimension is a name that exists only after the array join.

        Args:
            bindings: takes the key of a param.
            bounds: range of the events, required for the kind `time`.
        """
        match self.kind:
            case "column":
                return _COLUMNS[self.name]
            case "time":
                assert bounds is not None
                return bucket(TIME_UNITS[self.name], bindings, bounds)
            case "item":
                return self.name
            case "param":
                text, number, truth = (
                    self._value(kind, bindings) for kind in ("string", "number", "boolean")
                )
                return (
                    f"multiIf(isNotNull({text}), assumeNotNull({text}),"
                    f" isNotNull({number}), toString(assumeNotNull({number})),"
                    f" isNotNull({truth}), if(assumeNotNull({truth}), 'true', 'false'), '')"
                )

    def number(self, bindings: Bindings) -> str:
        """Build the SQL of the numeric value, which is NULL if there is none.

        Only params have one.
        """
        assert self.kind == "param"
        return self._value("number", bindings)

    def _value(self, kind: str, bindings: Bindings) -> str:
        column = PARAM_PREFIXES[self.name.partition(".")[0] + "."]
        key = bindings.text(self.key)
        value = f"{column}.{kind}_value[indexOf({column}.key, {key})]"
        return f"({value} + 0.)" if kind == "number" else value  # -0 becomes 0


def parse_dimension(name: str, parameter: str) -> Dimension:
    """Parse a dimension.

    Args:
        name: text as the client wrote it.
        parameter: query parameter that has the name, for the message.

    Raises:
        ParameterError: There is no such dimension.
    """
    for prefix in PARAM_PREFIXES:
        key = name.removeprefix(prefix)
        if name.startswith(prefix) and key:
            return Dimension(name, "param", key)
    if name in TIME_UNITS:
        return Dimension(name, "time")
    if name in _COLUMNS:
        return Dimension(name, "column")
    if name in ITEM_COLUMNS:
        return Dimension(name, "item")
    raise ParameterError(
        f"Query parameter {parameter} names {name[:100]!r}, which is no dimension:"
        f" there are {', '.join(KNOWN)}"
    )


def bucket(unit: Unit, bindings: Bindings, bounds: Range) -> str:
    """Build the SQL of the name of the minute, hour, day, week or month of an event.

    Names of hours and minutes carry the offset unless the zone is UTC. Without it, two hours would
    have the same name when a clock is set back.

    Args:
        unit: length of the bucket.
        bindings: takes the offsets of the zone.
        bounds: range of the events, and their zone.
    """
    local = local_time(bounds, bindings)
    name = local.named(_BUCKETS[unit])
    has_offset = bounds.zone != UTC_NAME and unit in ("minute", "hour")
    return f"concat({name}, {local.offset})" if has_offset else name
