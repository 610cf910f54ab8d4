"""A reply as JSON, as CSV or as an Arrow stream, by what the client accepts."""

import io
from collections.abc import Mapping

import orjson
import pyarrow as pa
from falcon.asgi import Request
from pyarrow import csv

from metrics_api.question import Answer, Kind

JSON, CSV, ARROW = "application/json", "text/csv", "application/vnd.apache.arrow.stream"
_TYPES: Mapping[Kind, pa.DataType] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
}


def preferred_type(req: Request) -> str:
    """JSON unless the client would rather have one of the others."""
    accepted = req.accept
    if CSV not in accepted and ARROW not in accepted:
        return JSON
    return req.client_prefers((ARROW, CSV, JSON)) or JSON


def render(answer: Answer, media_type: str) -> bytes:
    """The body of the reply."""
    if media_type == JSON:
        return orjson.dumps(answer.document)
    table = _table(answer)
    body = io.BytesIO()
    if media_type == CSV:
        csv.write_csv(table, body)
    else:
        with pa.ipc.new_stream(body, table.schema) as stream:
            stream.write_table(table)
    return body.getvalue()


def _table(answer: Answer) -> pa.Table:
    schema = pa.schema([pa.field(name, _TYPES[kind]) for name, kind in answer.columns.items()])
    columns = list(zip(*answer.rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)
