"""Tests that a query which times out in the flush names the cause."""

import asyncio

import pytest
from falcon import testing
from falcon.asgi import Response

from ingest.errors import SilentWorkerError
from metrics_api.errors import QueryTimeoutError
from metrics_api.serving.resources import QueryResource
from tests.property.test_freshness import FakeWorld, context_of, indexes


class Silent(FakeWorld):
    """A world whose flush fails."""

    def __init__(self, error: TimeoutError) -> None:
        """Fail with `error`."""
        super().__init__()
        self._error = error

    async def flush(self, *, timeout_s: float = 0) -> None:
        """Raise the error."""
        raise self._error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SilentWorkerError([2]), "Worker 2 does not answer"),
        (TimeoutError(), "not flushed within 1 s"),
    ],
)
def test_the_cause_of_a_timeout_is_named(error: TimeoutError, text: str) -> None:
    resource = QueryResource("indexes", indexes, context_of(Silent(error)))
    request = testing.create_asgi_req(query_string="consistency=flushed")
    with pytest.raises(QueryTimeoutError, match=text):
        asyncio.run(resource.on_get(request, Response()))
