"""Dimensions: what events are grouped and filtered by, each an SQL expression of a closed list.

Every dimension is a text; what an event does not have is the empty text. A key of a param is the
only part that comes from a client, and is bound.
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
"""Dimensions of each item in an event, by their column, which is joined under their name."""

TIME_UNITS: Mapping[str, Unit] = {
    "minute": "minute",
    "hourly": "hour",
    "daily": "day",
    "weekly": "week",
    "monthly": "month",
}
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
KNOWN = (
    *TIME_UNITS, *_COLUMNS, *ITEM_COLUMNS, *(f"{prefix}<key>" for prefix in PARAM_PREFIXES)
)  # fmt: skip
FILTERABLE = tuple(name for name in KNOWN if name not in TIME_UNITS)
_BUCKETS: Mapping[Unit, str] = {
    "minute": "formatDateTime({moment}, '%Y-%m-%d %H:%i:00')",
    "hour": "formatDateTime({moment}, '%Y-%m-%d %H:00:00')",
    "day": "formatDateTime({moment}, '%Y-%m-%d')",
    # Weeks begin on Monday; Date32 reaches as far as our times.
    "week": "toString(toDate32({moment}) - (toDayOfWeek({moment}) - 1))",
    "month": "formatDateTime({moment}, '%Y-%m')",
}


@dataclass(frozen=True, slots=True)
class Dimension:
    """name: as clients write it; key: of the param, for the two kinds that have one."""

    name: str
    kind: Literal["column", "time", "item", "param"]
    key: str = ""

    def text(self, bindings: Bindings, bounds: Range | None = None) -> str:
        """Its SQL; an item's is a name that only the array join gives a meaning. bounds: of the
        events, needed by times."""
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
        """The SQL of its numeric value, NULL where there is none; for a param alone."""
        assert self.kind == "param"
        return self._value("number", bindings)

    def _value(self, kind: str, bindings: Bindings) -> str:
        column = PARAM_PREFIXES[self.name.partition(".")[0] + "."]
        key = bindings.text(self.key)
        value = f"{column}.{kind}_value[indexOf({column}.key, {key})]"
        return f"({value} + 0.)" if kind == "number" else value  # -0 is 0


def parse_dimension(name: str, parameter: str) -> Dimension:
    """Raises ParameterError naming `parameter` and what there is."""
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
    """The SQL of the name of the minute, hour, day, week or month that an event is in.

    Hours and minutes of another zone than UTC carry their offset, for a clock that is set back
    shows the same hour twice. bounds: of the events.
    """
    local = local_time(bounds, bindings)
    name = local.named(_BUCKETS[unit])
    has_offset = bounds.zone != UTC_NAME and unit in ("minute", "hour")
    return f"concat({name}, {local.offset})" if has_offset else name
