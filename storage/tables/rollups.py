"""Rollups of the events table by the hour and by the day, for answers that may be off by a percent.

Their states are sketches of ids and of users, which a copy of an event does not change: duplicates
that the table has not collapsed yet, replays and backfills all leave them as they are.
"""

from storage.tables.cluster import ClusterLayout
from storage.tables.schema import EVENTS_TABLE, ONE_SERVER, decade

HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000
_HOURLY, _DAILY = "events_hourly", "events_daily"
ROLLUPS = ((DAY_US, _DAILY), (HOUR_US, _HOURLY))
"""What each row is about, in µs, and the table; the longest first."""
VIEWS = (f"{_DAILY}_view", f"{_HOURLY}_view")
"""What feeds them."""
PRECISION = 13
"""Of HyperLogLog: 2^13 registers, a standard error of 1.04 / sqrt(2^13) = 1.15 % (Flajolet et al.,
HyperLogLog, 2007)."""

_SKETCH = f"uniqCombined64{{suffix}}({PRECISION})"


def _floor(column: str, us: int) -> str:
    # toStartOfHour would end with the year 2105.
    return f"fromUnixTimestamp64Micro(intDiv(toUnixTimestamp64Micro({column}), {us}) * {us}, 'UTC')"


STATES = (
    f"name, channel_type, {_floor('event_time', HOUR_US)} AS time,"
    f" {_SKETCH.format(suffix='State')}(cityHash64(name, id, key_time)) AS events,"
    f" {_SKETCH.format(suffix='StateIf')}(user_hash, user_hash != 0) AS users"
)
"""Columns of a rollup, made of events; to be grouped by STATES_BY."""
STATES_BY = "name, channel_type, time"
MERGED = {name: f"{_SKETCH.format(suffix='Merge')}({name})" for name in ("events", "users")}
"""What the states of several rows come to."""


def rollup_ddl(layout: ClusterLayout = ONE_SERVER) -> tuple[str, ...]:
    """The tables, and what feeds them: the events feed the hours, and the hours the days."""
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
    """What the rollups lack of before there was what feeds them."""
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
        # PERF: a row is some KB, so that a question must not read thousands of them for a few.
        "SETTINGS index_granularity = 64"
    )
