"""A question that waits for a worker that does not answer says so."""

import asyncio

import pytest
from falcon import testing
from falcon.asgi import Response

from ingest.errors import SilentWorkerError
from metrics_api.errors import QueryTimeoutError
from metrics_api.serving.resources import QueryResource
from tests.property.test_freshness import World, indexes, parts_of


class Silent(World):
    def __init__(self, error: TimeoutError) -> None:
        super().__init__()
        self._error = error

    async def flush(self, *, timeout_s: float = 0) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (SilentWorkerError([2]), "Worker 2 does not answer"),
        (TimeoutError(), "not flushed within 1 s"),
    ],
)
def test_what_is_slow_is_named(error: TimeoutError, says: str) -> None:
    resource = QueryResource("indexes", indexes, parts_of(Silent(error)))
    request = testing.create_asgi_req(query_string="consistency=flushed")
    with pytest.raises(QueryTimeoutError, match=says):
        asyncio.run(resource.on_get(request, Response()))
