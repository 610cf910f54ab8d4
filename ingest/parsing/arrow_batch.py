"""Make a batch from events in columns, if they obey every rule.

The events come from JSON (`arrow_parser`) or from an Arrow stream (`arrow_stream`). This module
never explains: it declines events of which one is not plainly valid, and `validation` decides.
"""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ingest.event.arrow import BODY_TYPE, EVENT_TYPE, TIME
from ingest.event.definition import EVENT_TIME_END_US, TIMESTAMP_UNITS_US
from ingest.parsing.arrow_rules import all_finite, obeys_rules
from ingest.parsing.batch import Batch

# The dates that both the cast below and RFC 3339 accept. `validation` judges all other dates.
_PLAIN_DATE = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$"


def arrow_batch(events: pa.StructArray, decode_raw: Callable[[], list[Any]]) -> Batch | None:
    """Return the batch of events in columns; None if one is not plainly valid.

    Args:
        events: of BODY_TYPE, with unknown fields at the end. Dates may also be of type TIME.
        decode_raw: returns the events as sent. It is called if an event has no id.
    """
    size = len(events)
    if not size or events.null_count or not obeys_rules(events):
        return None
    if not all(all_finite(unknown) for unknown in events.flatten()[len(BODY_TYPE) :]):
        return None
    columns = {field.name: events.field(field.name) for field in BODY_TYPE}
    dates, times = columns["date"], unix_times_us(columns["timestamp"])
    if times is None or unix_times_us(columns["previous_timestamp"]) is None:
        return None
    if dates.null_count < size:
        columns["date"] = dates = _plain_dates(dates)
        if dates is None:
            return None
        times = pc.coalesce(dates.cast(pa.int64()), times)
    else:
        columns["date"] = pa.nulls(size, TIME)
    ids = columns["id"]
    return Batch.of_valid(
        pa.StructArray.from_arrays(
            [columns[field.name] for field in EVENT_TYPE], fields=list(EVENT_TYPE)
        ),
        client_ids=ids.to_pylist(),
        names=columns["name"].to_pylist(),
        # Needed only for events without an id: their id is made from their content.
        raw=decode_raw() if ids.null_count else [None] * size,
        times_us=times.to_pylist(),
    )


def unix_times_us(values: pa.Array) -> pa.Array | None:
    """Convert Unix times in any unit to µs; None if one is outside the years 1970 to 2299."""
    bounds = pc.min_max(values).as_py()
    if bounds["min"] is None:
        return values
    times = pa.nulls(len(values), pa.int64())
    for unit in TIMESTAMP_UNITS_US:
        if unit.first <= bounds["min"] and bounds["max"] < unit.end:
            # PERF: the common case, all times have one unit.
            return pc.divide(pc.multiply(values, unit.multiplier), unit.divisor)
        in_unit = pc.and_(pc.greater_equal(values, unit.first), pc.less_equal(values, unit.end - 1))
        # Times in other units may overflow here, but `if_else` does not use these results.
        in_us = pc.divide(pc.multiply(values, unit.multiplier), unit.divisor)
        times = pc.if_else(pc.fill_null(in_unit, False), in_us, times)
    return times if times.null_count == values.null_count else None


def _plain_dates(dates: pa.Array) -> pa.Array | None:
    if dates.type != TIME:
        if pc.all(pc.match_substring_regex(dates, _PLAIN_DATE)).as_py() is False:
            return None
        try:
            dates = dates.cast(TIME)
        except pa.ArrowInvalid:
            return None
    bounds = pc.min_max(dates.cast(pa.int64())).as_py()
    return dates if bounds["min"] >= 0 and bounds["max"] < EVENT_TIME_END_US else None
