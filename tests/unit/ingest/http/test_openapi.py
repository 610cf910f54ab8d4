"""The OpenAPI document names the API keys that each operation accepts."""

from typing import Any

import pytest

from ingest.http.openapi_errors import complete
from ingest.http.routes import Route, RouteTable

TABLE = RouteTable(
    [
        Route("/events", object(), scope="query", post_scope="ingest"),
        Route("/livez", object(), scope=None, is_probe=True),
    ]
)


@pytest.fixture
def document() -> dict[str, Any]:
    paths: dict[str, Any] = {"/events": {"get": {"responses": {}}, "post": {"responses": {}}}}
    paths["/livez"] = {"get": {"responses": {}}}
    return complete({"paths": paths, "components": {}}, TABLE)


def accepted_keys(operation: dict[str, Any]) -> set[str]:
    return {name for choice in operation["security"] for name in choice}


def test_a_key_in_the_url_is_only_accepted_by_post(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    in_url = {name for name, scheme in schemes.items() if scheme.get("in") == "query"}
    assert [schemes[name]["name"] for name in in_url] == ["browser_key"]
    events = document["paths"]["/events"]
    assert accepted_keys(events["post"]) == {"bearer", "api_key", *in_url}
    assert accepted_keys(events["get"]) == {"bearer", "api_key"}


def test_an_operation_without_a_scope_needs_no_key(document: dict[str, Any]) -> None:
    assert "security" not in document["paths"]["/livez"]["get"]
