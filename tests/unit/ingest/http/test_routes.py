"""A route has a scope that a key needs. A path without a route needs the scope admin."""

import pytest

from ingest.http.routes import Route, RouteTable

TABLE = RouteTable(
    [
        Route("/events", object(), scope="query", post_scope="ingest"),
        Route("/metrics", object(), scope="admin"),
        Route("/livez", object(), scope=None, is_probe=True),
    ]
)


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize(
    ("path", "method", "scope"),
    [
        ("/events", "POST", "ingest"),
        ("/events", "GET", "query"),
        ("/events", "DELETE", "query"),
        ("/metrics", "GET", "admin"),
        ("/metrics", "POST", "admin"),
        ("/livez", "GET", None),
        ("/of-tomorrow", "GET", "admin"),
        ("/eventsandmore", "POST", "admin"),
        ("", "GET", "admin"),
    ],
)
def test_a_route_says_which_scope_a_key_needs(
    prefix: str, path: str, method: str, scope: str | None
) -> None:
    assert TABLE.scope_for(prefix + path, method) == scope


@pytest.mark.parametrize(
    ("path", "is_probe"),
    [("/livez", True), ("/v1/livez", True), ("/events", False), ("/none", False)],
)
def test_only_health_checks_are_probes(path: str, is_probe: bool) -> None:
    assert TABLE.is_probe(path) is is_probe
