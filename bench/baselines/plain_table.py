"""A table for the same events that ClickHouse's own JSONEachRow reader can fill."""

_PARAM = (
    "Tuple(key LowCardinality(String), string_value Nullable(String),"
    " number_value Nullable(Float64), boolean_value Nullable(Bool))"
)
_ITEM = (
    "Tuple(id String, name String, brand LowCardinality(String), variant String,"
    " price_in_usd Nullable(Float64), revenue_in_usd Nullable(Float64), quantity Nullable(Int64))"
)
_DEVICE = ", ".join(
    f"{name} LowCardinality(String)"
    for name in (
        "category", "mobile_brand_name", "mobile_model_name", "operating_system",
        "operating_system_version", "language", "browser_name", "browser_version", "hostname",
    )
)  # fmt: skip
_GEO = ", ".join(
    f"{name} LowCardinality(String)" for name in ("continent", "country", "region", "city")
)
CREATE_TABLE = f"""
CREATE TABLE IF NOT EXISTS events (
    id String, name LowCardinality(String), channel_type LowCardinality(String),
    timestamp Int64, previous_timestamp Nullable(Int64), user_id String, user_pseudo_id String,
    event_params Array({_PARAM}), user_params Array({_PARAM}), device Tuple({_DEVICE}),
    app_info Tuple(id LowCardinality(String), version LowCardinality(String)), geo Tuple({_GEO}),
    items Array({_ITEM}), received_at DateTime64(6, 'UTC') DEFAULT now64(6)
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(timestamp, 'UTC'))
ORDER BY (name, toStartOfHour(fromUnixTimestamp64Milli(timestamp, 'UTC')), id)
SETTINGS min_bytes_for_wide_part = 268435456, fsync_after_insert = 1, fsync_part_directory = 1
"""
SETTINGS = {"input_format_skip_unknown_fields": 1, "optimize_on_insert": 0}
"""Settings of every insert."""
