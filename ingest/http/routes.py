"""The Falcon app: routes to resources, bare and under /v1."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import falcon
import falcon.asgi
import orjson
from falcon.asgi import Request, Response

from ingest.http import errors as http_errors

PREFIXES = ("", "/v1")


class Joined:
    """One resource of responders that belong to several."""

    def __init__(self, **responders: Any) -> None:
        """responders: by Falcon's names, such as on_get."""
        self.__dict__ |= responders


class AllowHead:
    """Falcon middleware: where GET is allowed HEAD is, see `HeadAsGet`."""

    async def process_response(
        self, req: Request, resp: Response, resource: object, req_succeeded: bool
    ) -> None:
        allowed = [method.strip() for method in (resp.get_header("Allow") or "").split(",")]
        if "GET" in allowed and "HEAD" not in allowed:
            resp.set_header("Allow", ", ".join([*allowed, "HEAD"]))


def build_routes(
    *,
    routes: Mapping[str, Any],
    static: Mapping[str, Path],
    statuses: Mapping[type[Exception], int],
    middleware: list[Any],
) -> falcon.asgi.App[Request, Response]:
    """routes: path to resource; static: path to directory; statuses: error class to HTTP status."""
    app = falcon.asgi.App(middleware=[AllowHead(), *middleware])
    json = falcon.media.JSONHandler(dumps=orjson.dumps, loads=orjson.loads)
    app.resp_options.media_handlers[falcon.MEDIA_JSON] = json
    http_errors.install(app, statuses)
    for prefix in PREFIXES:
        for path, resource in routes.items():
            app.add_route(prefix + path, resource)
        for path, directory in static.items():
            app.add_static_route(prefix + path, directory)
    return app
