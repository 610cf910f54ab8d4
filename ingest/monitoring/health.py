"""GET /livez and /readyz: whether this process is alive and whether it can serve requests."""

from collections.abc import Callable, Mapping

from falcon.asgi import Request, Response


class LiveResource:
    """GET /livez. Responds as long as the event loop runs."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Respond with 200."""
        resp.media = {"status": "ok"}


class ReadyResource:
    """GET /readyz. 200 while events can be accepted and stored, else 503 with the failed checks.

    The result "paused" of storage means that an operator must act. A log line says what to do.
    """

    def __init__(self, checks: Mapping[str, Callable[[], str]]) -> None:
        """Run `checks` for each request.

        Args:
            checks: cheap functions by name. Each returns "ok" or another word.
        """
        self._checks = checks

    async def on_get(self, req: Request, resp: Response) -> None:
        """Run all checks and respond with their results."""
        results = {name: check() for name, check in self._checks.items()}
        ready = all(result == "ok" for result in results.values())
        resp.status = 200 if ready else 503
        resp.media = {
            "status": "ok" if ready else "unavailable",
            "checks": results,
        }
