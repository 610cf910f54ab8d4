"""The HTTP resource of an endpoint: from the query string to the response, through the cache."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import orjson
import structlog
from falcon.asgi import Request, Response

from metrics_api.endpoints.endpoint import Endpoint, QueryPlan, Rows
from metrics_api.errors import (
    ParameterError,
    QueryBusyError,
    QueryRefusedError,
    QueryTimeoutError,
    QueryTooLargeError,
    QueryUnavailableError,
)
from metrics_api.instruments import QueryInstruments
from metrics_api.query.params import CONSISTENCIES
from metrics_api.query.query_string import Parameters
from metrics_api.query.statement import Statement
from metrics_api.query.times import printed_ms
from metrics_api.query.unknown_parameters import with_unknown
from metrics_api.serving.cache import CachedResponse
from metrics_api.serving.formats import preferred_type, render
from metrics_api.serving.freshness import Freshness
from metrics_api.serving.single_flight import SingleFlightCache
from storage.clickhouse.reader import Reader
from storage.errors import (
    LIMIT_CODES,
    RESULT_LIMIT,
    TIMEOUT_CODES,
    PausedError,
    QueryQueueFullError,
    StorageError,
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class QueryContext:
    """Services and limits that the resources of all endpoints share.

    Attributes:
        reader: runs the statements in storage.
        responses: cache of responses.
        freshness: flushes events, and knows the watermark.
        instruments: instruments of queries and their cache.
        now_us: returns the present time, in µs since 1970.
        flush_timeout_s: how long `?consistency=flushed` waits.
        open_s: how long a response is cached if its range reaches the watermark.
        closed_s: how long a response is cached if its range ends before the watermark, so that only
            late events can change it.
    """

    reader: Reader
    responses: SingleFlightCache
    freshness: Freshness
    instruments: QueryInstruments
    now_us: Callable[[], int]
    flush_timeout_s: float
    open_s: float
    closed_s: float


class QueryResource:
    """GET of one endpoint."""

    def __init__(self, name: str, endpoint: Endpoint, context: QueryContext) -> None:
        """Make the resource.

        Args:
            name: name of the endpoint, for instruments and cache keys.
            endpoint: plans the query.
            context: services that all resources share.
        """
        self._name = name
        self._endpoint = endpoint
        self._context = context
        self._refusals: set[int | None] = set()

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer a query from the cache or from storage.

        Raises:
            QueryError: The query is wrong, too large or too slow, or storage can't run it.
        """
        context, media_type = self._context, preferred_type(req.accept)
        parameters = Parameters(req.query_string)
        is_flushed = parameters.choice("consistency", CONSISTENCIES) == "flushed"
        try:
            plan = self._endpoint(parameters, context.now_us())
        except ParameterError as error:
            raise with_unknown(error, parameters) from error
        pairs = [pair for pair in parameters.pairs if pair[0] != "consistency"]
        key = sha256(orjson.dumps([self._name, media_type, pairs])).hexdigest()

        async def make() -> CachedResponse:
            return await self._make(plan, media_type, is_flushed=is_flushed)

        response = await (context.responses.renew if is_flushed else context.responses.get)(
            key, make
        )
        age_s = max(0.0, context.now_us() / 1_000_000 - response.made_s)
        resp.content_type = response.media_type
        resp.data = response.body
        resp.set_header("Age", str(int(age_s)))
        left_s = max(0, int(response.life_s - age_s))
        resp.set_header("Cache-Control", f"private, max-age={left_s}")
        resp.append_header("Vary", "Accept")
        if response.is_truncated:
            resp.set_header("Event-Stream-Truncated", "true")

    async def _make(self, plan: QueryPlan, media_type: str, *, is_flushed: bool) -> CachedResponse:
        context = self._context
        try:
            if is_flushed:
                await context.freshness.flush(timeout_s=context.flush_timeout_s)
            watermark_us = await context.freshness.watermark_us()
        except TimeoutError as error:
            raise QueryTimeoutError(
                str(error)
                or f"The buffer was not flushed within {context.flush_timeout_s:g} s: retry later"
            ) from error
        # Taken before the query: events stored from now on may be missing in its result.
        made_us = context.now_us()
        with context.instruments.timed(self._name):
            rows = [await self._rows(statement) for statement in plan.statements]
        result = plan.result(rows)
        result.document["watermark"] = printed_ms(watermark_us)
        # A range that reaches the watermark may lack events that were received but not stored yet.
        life_s = context.closed_s if plan.end_us < watermark_us else context.open_s
        body, is_truncated = render(result, media_type), result.document.get("truncated") is True
        return CachedResponse(body, media_type, made_us / 1_000_000, life_s, is_truncated)

    async def _rows(self, statement: Statement) -> Rows:
        try:
            rows = await self._context.reader.query(statement.sql, statement.parameters)
        except QueryQueueFullError as error:
            raise QueryBusyError("Too many queries are waiting: retry later") from error
        except StorageError as error:
            if error.code == RESULT_LIMIT:
                raise QueryTooLargeError(
                    "The result is too large: ask for a limit, fewer groups or longer buckets"
                ) from error
            if error.code in TIMEOUT_CODES or error.code in LIMIT_CODES:
                raise QueryTimeoutError(
                    "The query takes too long or too much memory: ask for a shorter range"
                ) from error
            if isinstance(error, PausedError):
                if error.code not in self._refusals:  # logged once for each reason
                    self._refusals.add(error.code)
                    log.error("storage refuses queries", error=str(error), code=error.code)
                raise QueryRefusedError from error
            log.error("query failed", error=str(error), code=error.code)
            raise QueryUnavailableError from error
        self._refusals.clear()
        return rows
