"""What a key needs for a route is decided for routes that do not exist yet, too."""

import pytest

from ingest.auth.access import scope_for


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize(
    ("route", "method", "scope"),
    [
        ("/events", "POST", "ingest"),
        ("/events/batch", "POST", "ingest"),
        ("/events", "GET", "query"),
        ("/events/of-tomorrow", "GET", "query"),
        ("/metrics", "GET", "admin"),
        ("/debug/ledger", "GET", "admin"),
        ("/of-tomorrow", "GET", "admin"),
        ("/eventsandmore", "POST", "admin"),
        ("/livez", "GET", None),
        ("/readyz", "GET", None),
        ("/openapi.json", "GET", None),
        ("/swagger/index.html", "GET", None),
    ],
)
def test_a_route_needs_the_scope_of_its_first_part(
    prefix: str, route: str, method: str, scope: str | None
) -> None:
    assert scope_for(prefix + route, method) == scope
