"""Swagger UI and the OpenAPI document. All assets come from a package, so they work offline."""

from pathlib import Path
from typing import Any

import orjson
import swagger_ui
from falcon.asgi import Request, Response
from swagger_ui.core import ApplicationDocument

from ingest.http.routes import Route

PREFIX = "/swagger"
DOCUMENT_PATH = "/openapi.json"
STATIC_PATH = f"{PREFIX}/static"
STATIC_DIR = Path(swagger_ui.__file__).parent / "static"


def docs_routes(document: dict[str, Any]) -> list[Route]:
    """Return the routes. The app must also serve STATIC_DIR at STATIC_PATH.

    Args:
        document: the OpenAPI document.
    """
    ui = ApplicationDocument(
        None, config=document, config_rel_url=DOCUMENT_PATH, url_prefix=PREFIX, title="Event Stream"
    )
    json = _Fixed(orjson.dumps(document), "application/json")
    page = _Fixed(ui.doc_html.encode(), "text/html; charset=utf-8")
    return [
        Route(DOCUMENT_PATH, json, scope=None),
        Route(PREFIX, _Redirect(f"{PREFIX}/index.html"), scope=None),
        Route(f"{PREFIX}/index.html", page, scope=None),
        Route(f"{PREFIX}{DOCUMENT_PATH}", json, scope=None),
    ]


class _Fixed:
    def __init__(self, data: bytes, content_type: str) -> None:
        self._data = data
        self._content_type = content_type

    async def on_get(self, req: Request, resp: Response) -> None:
        resp.data = self._data
        resp.content_type = self._content_type


class _Redirect:
    def __init__(self, location: str) -> None:
        self._location = location

    async def on_get(self, req: Request, resp: Response) -> None:
        resp.status = 302
        resp.set_header("Location", self._location)
