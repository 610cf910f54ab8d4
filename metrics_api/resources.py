"""GET /events/metrics."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from falcon.asgi import Request, Response

from metrics_api.errors import QueryTimeoutError, QueryUnavailableError
from metrics_api.freshness import Freshness
from metrics_api.params import EARLIEST_TEXT, Query, parse_query
from metrics_api.sql import build_sql
from storage.errors import LIMIT_CODES, TIMEOUT_CODES, StorageError
from storage.reader import Reader

log = structlog.get_logger()


class MetricsResource:
    def __init__(
        self,
        *,
        reader: Reader,
        freshness: Freshness,
        now_us: Callable[[], int],
        flush_timeout_s: float,
    ) -> None:
        """flush_timeout_s: how long `?consistency=flushed` waits."""
        self._reader = reader
        self._freshness = freshness
        self._now_us = now_us
        self._flush_timeout_s = flush_timeout_s

    async def on_get(self, req: Request, resp: Response) -> None:
        query = parse_query(req.params, now_us=self._now_us())
        try:
            if query.consistency == "flushed":
                await self._freshness.flush(timeout_s=self._flush_timeout_s)
            watermark_us = await self._freshness.watermark_us()
        except TimeoutError as error:
            raise QueryTimeoutError(
                f"The buffer was not flushed within {self._flush_timeout_s:g} s: retry later"
            ) from error
        rows = await self._rows(query)
        resp.media = _reply(query, rows, watermark_us)

    async def _rows(self, query: Query) -> Sequence[Sequence[Any]]:
        sql, parameters = build_sql(query)
        try:
            return await self._reader.query(sql, parameters)
        except StorageError as error:
            if error.code in TIMEOUT_CODES or error.code in LIMIT_CODES:
                raise QueryTimeoutError(
                    "The query takes too long or too much memory: ask for a shorter range"
                ) from error
            log.error("query failed", error=str(error), code=error.code)
            raise QueryUnavailableError(error) from error


def _reply(query: Query, rows: Sequence[Sequence[Any]], watermark_us: int) -> dict[str, Any]:
    *groups, total = rows
    watermark = datetime.fromtimestamp(watermark_us / 1_000_000, UTC)
    reply: dict[str, Any] = {
        "event_name": query.event_name,
        "from": query.start.text if query.start is not None else EARLIEST_TEXT,
        "to": query.end.text,
        "total_count": total[1],
        "unique_user_count": total[2],
        "watermark": watermark.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    if groups:
        reply["grouped_metrics"] = [
            {"group_key": key, "total_count": count, "unique_user_count": users}
            for key, count, users in groups
        ]
    return reply
