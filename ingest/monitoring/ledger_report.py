"""GET /debug/ledger: the books of every worker and of the service, to be read by people."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from falcon.asgi import Request, Response


class LedgerResource:
    def __init__(self, ledgers: Callable[[], Awaitable[Mapping[int, bytes]]]) -> None:
        """ledgers: each worker's books as JSON, by the worker's number."""
        self._ledgers = ledgers

    async def on_get(self, req: Request, resp: Response) -> None:
        answers = await self._ledgers()
        workers = {str(number): orjson.loads(text) for number, text in sorted(answers.items())}
        total: dict[str, Any] = {}
        for books in workers.values():
            for name, value in books.items():
                total[name] = total.get(name, 0) + value
        outcomes = sum(
            value for name, value in total.items() if name not in ("received", "accepted")
        )
        resp.media = {
            "total": total,
            "balanced": total["received"] == outcomes,
            "workers": workers,
        }
