"""Rollups of the events table by hour and by day, for approximate metrics (about 1 % error).

The rollups hold sketches of event identities and of users. A copy of an event does not change a
sketch, so the rollups stay correct with duplicates that the table has not collapsed yet, with
replays and with backfills.
"""

from storage.tables.cluster import ClusterLayout
from storage.tables.schema import EVENTS_TABLE, ONE_SERVER, decade

HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000
_HOURLY, _DAILY = "events_hourly", "events_daily"
ROLLUPS = ((DAY_US, _DAILY), (HOUR_US, _HOURLY))
"""(time that a row covers in µs, table), longest time first."""
VIEWS = (f"{_DAILY}_view", f"{_HOURLY}_view")
"""The materialized views that fill the rollups."""
PRECISION = 13
"""Precision of HyperLogLog: 2^13 registers have a standard error of 1.04 / sqrt(2^13) = 1.15 %
(Flajolet et al., HyperLogLog, 2007)."""

_SKETCH = f"uniqCombined64{{suffix}}({PRECISION})"


def _floor(column: str, us: int) -> str:
    # toStartOfHour does not support times after the year 2105.
    return f"fromUnixTimestamp64Micro(intDiv(toUnixTimestamp64Micro({column}), {us}) * {us}, 'UTC')"


STATES = (
    f"name, channel_type, {_floor('event_time', HOUR_US)} AS time,"
    f" {_SKETCH.format(suffix='State')}(cityHash64(name, id, key_time)) AS events,"
    f" {_SKETCH.format(suffix='StateIf')}(user_hash, user_hash != 0) AS users"
)
"""Columns of a rollup, computed from events that are grouped by STATES_BY."""
STATES_BY = "name, channel_type, time"
MERGED = {name: f"{_SKETCH.format(suffix='Merge')}({name})" for name in ("events", "users")}
"""Expressions that merge the sketches of several rows into a count, by column."""


def rollup_ddl(layout: ClusterLayout = ONE_SERVER) -> tuple[str, ...]:
    """Return the statements that create the rollups and their materialized views.

    The hourly rollup is filled from the events, the daily rollup from the hourly one.
    """
    merged = ", ".join(f"{_SKETCH.format(suffix='MergeState')}({n}) AS {n}" for n in MERGED)
    events, hourly, daily = map(layout.local, (EVENTS_TABLE, _HOURLY, _DAILY))
    on = layout.on_cluster
    days = (
        f"SELECT name, channel_type, {_floor('hours.time', DAY_US)} AS time, {merged}"
        f" FROM {hourly} AS hours GROUP BY {STATES_BY}"
    )
    return (
        _table_ddl(hourly, layout),
        _table_ddl(daily, layout),
        *layout.distributed_ddl(_HOURLY, "rand()"),
        *layout.distributed_ddl(_DAILY, "rand()"),
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS {_DAILY}_view{on} TO {daily} AS {days}",
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS {_HOURLY}_view{on} TO {hourly} AS "
        + _hours(events),
    )


def rollup_backfill() -> tuple[str, ...]:
    """Return the statements that add the events stored before the views existed."""
    return (f"INSERT INTO {_HOURLY} {_hours(EVENTS_TABLE)}",)


def _hours(table: str) -> str:
    return f"SELECT {STATES} FROM {table} GROUP BY {STATES_BY}"


def _table_ddl(name: str, layout: ClusterLayout) -> str:
    sketch = _SKETCH.format(suffix="")
    return (
        f"CREATE TABLE IF NOT EXISTS {name}{layout.on_cluster}\n(\n"
        "    name LowCardinality(String),\n"
        "    channel_type LowCardinality(String),\n"
        "    time DateTime64(6, 'UTC'),\n"
        f"    events AggregateFunction({sketch}, UInt64),\n"
        f"    users AggregateFunction({sketch}, UInt128)\n)\n"
        f"ENGINE = {layout.engine('AggregatingMergeTree')}\nPARTITION BY {decade('time')}\n"
        "ORDER BY (name, time, channel_type)\n"
        # PERF: a row has some KB, so a query for a few rows must not read thousands of them.
        "SETTINGS index_granularity = 64"
    )
