"""Rate limits: requests and events a second, for each key or, without keys, for each address.

A sliding window (the `limits` library), in this worker's memory or in Redis for all of them. While
Redis does not answer, each worker counts for itself: a limit is then higher, never gone.
"""

import time
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from typing import Any, Literal

import structlog
from falcon.asgi import Request, Response
from limits import RateLimitItem, parse_many
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter as SharedLimiter
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter as OwnLimiter
from redis.exceptions import RedisError

from ingest.auth import of_whom
from ingest.errors import RateLimitError, TooLargeError

Kind = Literal["requests", "events", "failures"]
TIMEOUT_S = 0.25
PAUSE_S = 1.0
"""Between attempts at a Redis that does not answer."""

log = structlog.get_logger()


class RateLimits:
    def __init__(self, rates: Mapping[Kind, str], *, redis_url: str | None = None) -> None:
        """rates: such as `100/second;1000/minute`, of every key or address whose key does not say
        otherwise; '' for no limit. Raises ValueError."""
        self._rates = {kind: parse_rates(text) for kind, text in rates.items()}
        self._parsed: dict[str, list[RateLimitItem]] = {}
        self._own = OwnLimiter(MemoryStorage())
        self._shared: SharedLimiter | None = None
        if redis_url is not None:
            url = redis_url.replace("unix://", "redis+unix://")
            options: dict[str, Any] = {
                "socket_timeout": TIMEOUT_S,
                "socket_connect_timeout": TIMEOUT_S,
                "retry": None,
            }
            storage = RedisStorage(f"async+{url}", implementation="redispy", **options)
            self._shared = SharedLimiter(storage)
        self._paused_until_s = 0.0

    async def take(self, kind: Kind, req: Request, resp: Response, cost: int = 1) -> None:
        """Count `cost` of `kind` for who asks, and say on the reply what is left.

        Raises RateLimitError, TooLargeError when it is more than there ever is.
        """
        key = of_whom(req)
        items = self._rates[kind]
        if key is not None and kind != "failures":
            own = key.requests_rate if kind == "requests" else key.events_rate
            items = self._items(own) if own else items
        if not items:
            return
        who = f"{kind}:{key.id if key is not None else _address(req.remote_addr)}"
        least: tuple[int, RateLimitItem, float] | None = None
        for item in items:
            if cost > item.amount:
                raise TooLargeError(
                    f"No more than {item.amount} {kind} at once are allowed: send smaller requests"
                )
            is_taken = await self._hit(item, who, cost)
            reset_s, remaining = await self._window(item, who)
            left_s = max(0.0, reset_s - time.time())
            if least is None or not is_taken or remaining < least[0]:
                least = (remaining if is_taken else 0, item, left_s)
            if not is_taken:
                break
        assert least is not None
        remaining, item, left_s = least
        resp.set_headers(
            {
                "RateLimit-Limit": str(item.amount),
                "RateLimit-Remaining": str(remaining),
                "RateLimit-Reset": str(max(1, round(left_s))),
            }
        )
        if not is_taken:
            raise RateLimitError(f"More {kind} than {item}: slow down", max(1, round(left_s)))

    def _items(self, text: str) -> list[RateLimitItem]:
        if text not in self._parsed:
            self._parsed[text] = parse_rates(text)
        return self._parsed[text]

    async def _hit(self, item: RateLimitItem, who: str, cost: int) -> bool:
        if self._shared is not None and time.monotonic() >= self._paused_until_s:
            try:
                return await self._shared.hit(item, who, cost=cost)
            except (RedisError, OSError, TimeoutError) as error:
                self._pause(error)
        return self._own.hit(item, who, cost=cost)

    async def _window(self, item: RateLimitItem, who: str) -> tuple[float, int]:
        if self._shared is not None and time.monotonic() >= self._paused_until_s:
            try:
                return await self._shared.get_window_stats(item, who)
            except (RedisError, OSError, TimeoutError) as error:
                self._pause(error)
        return self._own.get_window_stats(item, who)

    def _pause(self, error: Exception) -> None:
        if self._paused_until_s == 0:
            log.warning("rate limits: Redis does not answer", error=type(error).__name__)
        self._paused_until_s = time.monotonic() + PAUSE_S


class RequestLimits:
    """Falcon middleware: a request is counted once it is known who asks."""

    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits

    async def process_resource(
        self, req: Request, resp: Response, resource: object, params: dict[str, Any]
    ) -> None:
        await self._limits.take("requests", req, resp)


def parse_rates(text: str) -> list[RateLimitItem]:
    """Raises ValueError."""
    return parse_many(text) if text else []


def _address(text: str) -> str:
    """Of IPv6 the network of one customer, who has 2^64 addresses in it."""
    try:
        address = ip_address(text)
    except ValueError:
        return text
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> 64 << 64))
    return text
