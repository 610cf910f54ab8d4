"""Restore an event, as clients send it, from a row of the table. The inverse of `to_columns`."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from ingest.event.arrow import EVENT_TYPE, NULLABLE

TIMES = ("event_time", "received_at")


def restore(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event of a row.

    Absent fields are left out. Empty texts are left out too if the table stores absent as empty.

    Args:
        row: a value for each column of `TABLE_SCHEMA`, with times in µs since 1970.
    """
    times = {name: printed(row[name]) for name in TIMES}
    return {"id": row["id"], **_fields(EVENT_TYPE, row, ""), **times}


def _fields(kind: pa.StructType, row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    fields = {}
    for field in kind:
        value = _value(field.type, row, prefix + field.name)
        is_nullable = NULLABLE in (field.metadata or {})
        if value not in (None, {}, []) and (value != "" or is_nullable):
            fields[field.name] = value
    return fields


def _value(kind: pa.DataType, row: Mapping[str, Any], name: str) -> Any:
    if pa.types.is_struct(kind):
        return _fields(kind, row, f"{name}_")
    if pa.types.is_list(kind):
        columns = {
            column.removeprefix(f"{name}."): values
            for column, values in row.items()
            if column.startswith(f"{name}.")
        }
        length = max(len(values) for values in columns.values())
        return [
            _fields(kind.value_type, {column: values[i] for column, values in columns.items()}, "")
            for i in range(length)
        ]
    value = row[name]
    return printed(value) if value is not None and pa.types.is_timestamp(kind) else value


def printed(us: int) -> str:
    """Return a time in RFC 3339.

    Args:
        us: µs since 1970.

    Raises:
        OverflowError: it is not in the years 1 to 9999.
    """
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    return moment.isoformat().replace("+00:00", "Z")
