"""Routes: the paths, their resources, and the scopes that keys need for them.

Every path is served without a prefix and under /v1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import falcon
import falcon.asgi
import orjson
from falcon.asgi import Request, Response

from ingest.auth.keys import Scope
from ingest.http import errors as http_errors

PREFIXES = ("", "/v1")


@dataclass(frozen=True, slots=True)
class Route:
    """One path.

    Attributes:
        path: without a prefix.
        resource: its Falcon resource.
        scope: the scope that a key needs; None if no key is needed.
        post_scope: the scope that a key needs for POST instead, if it differs.
        is_probe: whether its requests are exempt from rate limits.
    """

    path: str
    resource: object
    scope: Scope | None
    post_scope: Scope | None = None
    is_probe: bool = False


class RouteTable:
    """All routes, found by Falcon's template of a path."""

    def __init__(self, routes: Sequence[Route]) -> None:
        """Serve each of `routes` under every prefix."""
        self._routes = {prefix + route.path: route for prefix in PREFIXES for route in routes}

    def items(self) -> Mapping[str, Route]:
        """Return the routes by path; the paths include the prefix."""
        return self._routes

    def scope_for(self, path: str, method: str) -> Scope | None:
        """Return the scope that a key needs; `admin` if there is no such path."""
        route = self._routes.get(path)
        if route is None:
            return "admin"
        if method == "POST" and route.post_scope is not None:
            return route.post_scope
        return route.scope

    def is_probe(self, path: str) -> bool:
        """Return whether a path is a health check, which is exempt from rate limits."""
        route = self._routes.get(path)
        return route is not None and route.is_probe


class AllowHead:
    """Falcon middleware that adds HEAD to the Allow header if GET is allowed; see `HeadAsGet`."""

    async def process_response(
        self, req: Request, resp: Response, resource: object, req_succeeded: bool
    ) -> None:
        """Complete the Allow header."""
        allowed = [method.strip() for method in (resp.get_header("Allow") or "").split(",")]
        if "GET" in allowed and "HEAD" not in allowed:
            resp.set_header("Allow", ", ".join([*allowed, "HEAD"]))


def build_falcon_app(
    *,
    table: RouteTable,
    static: Mapping[str, Path],
    statuses: Mapping[type[Exception], int],
    middleware: list[Any],
) -> falcon.asgi.App[Request, Response]:
    """Build the Falcon app.

    Args:
        table: the routes.
        static: directories with files, by path.
        statuses: HTTP status by class of error.
        middleware: Falcon middleware, in the order in which it sees a request.
    """
    app = falcon.asgi.App(middleware=[AllowHead(), *middleware])
    json = falcon.media.JSONHandler(dumps=orjson.dumps, loads=orjson.loads)
    app.resp_options.media_handlers[falcon.MEDIA_JSON] = json
    http_errors.install(app, statuses)
    for path, route in table.items().items():
        app.add_route(path, route.resource)
    for prefix in PREFIXES:
        for path, directory in static.items():
            app.add_static_route(prefix + path, directory)
    return app
