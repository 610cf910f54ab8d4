"""GET /livez and /readyz: may this process live, and should it be sent requests."""

from collections.abc import Callable, Mapping

from falcon.asgi import Request, Response


class LiveResource:
    """Answers while the event loop turns."""

    async def on_get(self, req: Request, resp: Response) -> None:
        resp.media = {"status": "ok"}


class ReadyResource:
    """200 while events can be taken and stored; 503 naming what is missing.

    "paused" of storage means that an operator must act; the service's log says how.
    """

    def __init__(self, checks: Mapping[str, Callable[[], str]]) -> None:
        """checks: by name, each cheap; "ok" or another word."""
        self._checks = checks

    async def on_get(self, req: Request, resp: Response) -> None:
        results = {name: check() for name, check in self._checks.items()}
        ready = all(result == "ok" for result in results.values())
        resp.status = 200 if ready else 503
        resp.media = {
            "status": "ok" if ready else "unavailable",
            "checks": results,
        }
