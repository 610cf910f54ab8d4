"""The hourly rollup of the events table, for answers that may be off by a percent.

Its states are sketches of ids and of users, which a copy of an event does not change: duplicates
that the table has not collapsed yet, replays and backfills all leave it as it is.
"""

from storage.schema import EVENTS_TABLE, USER

ROLLUP_TABLE = "events_hourly"
_VIEW = "events_hourly_view"
PRECISION = 14
"""Of HyperLogLog: 2^14 registers, a standard error of 1.04 / sqrt(2^14) = 0.8 % (Flajolet et al.,
HyperLogLog, 2007)."""

STATES = (
    # toStartOfHour would end with the year 2105.
    "name, channel_type, fromUnixTimestamp64Micro("
    "intDiv(toUnixTimestamp64Micro(event_time), 3600000000) * 3600000000, 'UTC') AS hour,"
    f" uniqCombined64State({PRECISION})(cityHash64(name, id)) AS events,"
    f" uniqCombined64StateIf({PRECISION})(cityHash64({USER}), {USER} != '') AS users"
)
STATES_BY = "name, channel_type, hour"


def rollup_ddl() -> tuple[str, ...]:
    """The table, what feeds it from now on, and what it lacks of before. All may be run again."""
    state = f"AggregateFunction(uniqCombined64({PRECISION}), UInt64)"
    select = f"SELECT {STATES} FROM {EVENTS_TABLE} GROUP BY {STATES_BY}"
    return (
        f"CREATE TABLE IF NOT EXISTS {ROLLUP_TABLE}\n(\n"
        "    name LowCardinality(String),\n"
        "    channel_type LowCardinality(String),\n"
        "    hour DateTime64(6, 'UTC'),\n"
        f"    events {state},\n    users {state}\n)\n"
        "ENGINE = AggregatingMergeTree\nPARTITION BY toYYYYMM(hour)\n"
        "ORDER BY (name, hour, channel_type)",
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS {_VIEW} TO {ROLLUP_TABLE} AS {select}",
        f"INSERT INTO {ROLLUP_TABLE} {select}",
    )
