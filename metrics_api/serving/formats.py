"""Render a query result as JSON, CSV or an Arrow stream, whichever the client prefers."""

import io
from collections.abc import Mapping

import orjson
import pyarrow as pa
from pyarrow import csv

from metrics_api.endpoints.endpoint import QueryResult
from metrics_api.query.statement import Kind

JSON, CSV, ARROW = "application/json", "text/csv", "application/vnd.apache.arrow.stream"
_TYPES: Mapping[Kind, pa.DataType] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
}


def preferred_type(accept: str) -> str:
    """Choose the media type by the `Accept` header (RFC 9110, section 12.5.1).

    The highest weight wins. Of equal weights, the more specific range wins, then JSON. A client
    that accepts none of the three types gets JSON.
    """
    ranges = [_range(part) for part in accept.split(",")]
    best, best_rank = JSON, (0.0, 0)
    for media_type in (JSON, CSV, ARROW):
        matching = [(named, weight) for name, named, weight in ranges if name in _names(media_type)]
        # If several ranges match, the most specific one decides the weight.
        named, weight = max(matching, default=(0, 0.0))
        if weight > 0 and (weight, named) > best_rank:
            best, best_rank = media_type, (weight, named)
    return best


def _range(text: str) -> tuple[str, int, float]:
    """Return (media range, how specific it is, weight). Other parameters are ignored."""
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    weight = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                weight = min(max(float(value), 0.0), 1.0)
            except ValueError:
                weight = 0.0
    return name, 0 if name == "*/*" else 1 if name.endswith("/*") else 2, weight


def _names(media_type: str) -> tuple[str, str, str]:
    """Return the media ranges that contain a media type."""
    return media_type, f"{media_type.partition('/')[0]}/*", "*/*"


def render(result: QueryResult, media_type: str) -> bytes:
    """Return the body of a response in the given media type."""
    if media_type == JSON:
        return orjson.dumps(result.document)
    table = _table(result)
    body = io.BytesIO()
    if media_type == CSV:
        csv.write_csv(table, body)
    else:
        with pa.ipc.new_stream(body, table.schema) as stream:
            stream.write_table(table)
    return body.getvalue()


def _table(result: QueryResult) -> pa.Table:
    schema = pa.schema([pa.field(name, _TYPES[kind]) for name, kind in result.columns.items()])
    columns = list(zip(*result.rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)
