"""GET /debug/ledger: the event counts of every worker and of the service, for people to read."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from falcon.asgi import Request, Response


class LedgerResource:
    """GET /debug/ledger."""

    def __init__(self, ledgers: Callable[[], Awaitable[Mapping[int, bytes]]]) -> None:
        """Read the event counts from all workers.

        Args:
            ledgers: returns each worker's EventCounts as JSON, by the worker's number.
        """
        self._ledgers = ledgers

    async def on_get(self, req: Request, resp: Response) -> None:
        """Respond with the counts of each worker, their total, and whether the total balances."""
        ledgers = await self._ledgers()
        workers = {str(number): orjson.loads(text) for number, text in sorted(ledgers.items())}
        total: dict[str, Any] = {}
        for counts in workers.values():
            for name, value in counts.items():
                total[name] = total.get(name, 0) + value
        outcomes = sum(
            value for name, value in total.items() if name not in ("received", "accepted")
        )
        resp.media = {
            "total": total,
            "balanced": total["received"] == outcomes,
            "workers": workers,
        }
