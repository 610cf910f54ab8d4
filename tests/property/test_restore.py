"""Events come back from the table's columns as they were sent."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ingest.event.arrow import RECORD_SCHEMA, to_columns
from ingest.event.from_row import restore
from ingest.event.text import read_texts
from ingest.parsing.strict_json import Decoded
from ingest.parsing.validation import validate
from tests.property.strategies import EVENTS

NULLABLE_TEXTS = {"string_value"}


def present(value: Any, name: str = "") -> Any:
    """Without what is absent, and without the empty texts that the table can't tell from that."""
    if isinstance(value, dict):
        kept = {key: present(inner, key) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner not in (None, {}, [])}
    if isinstance(value, list):
        return [present(inner) for inner in value]
    return None if value == "" and name not in NULLABLE_TEXTS else value


@given(st.lists(EVENTS, min_size=1, max_size=4))
def test_what_is_restored_is_what_was_sent(events: list) -> None:
    batch = validate(Decoded(events, False))
    assert not batch.rejected
    ids = pa.array([f"id-{number}" for number in range(len(events))])
    times = pa.array(range(len(events)), pa.int64()).cast(pa.timestamp("us", "UTC"))
    arrays = [ids, times, times, times, read_texts(pa.array(batch.events, pa.binary()))]
    table = to_columns([pa.RecordBatch.from_arrays(arrays, schema=RECORD_SCHEMA)])
    columns = {
        name: (
            column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        ).to_pylist()
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    for number, event in enumerate(events):
        restored = restore({name: values[number] for name, values in columns.items()})
        assert restored.pop("id") == f"id-{number}"
        assert restored.pop("received_at").startswith("1970-01-01T00:00:00")
        restored.pop("event_time")
        expected = present({key: value for key, value in event.items() if key != "id"})
        if "date" in expected:
            assert datetime.fromisoformat(restored.pop("date")) == datetime.fromisoformat(
                expected.pop("date")
            ).astimezone(UTC)
        assert restored == expected
