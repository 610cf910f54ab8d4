"""Options for Redis clients, and a circuit breaker for Redis.

Import this module only where Redis is configured: the Redis client takes half a second to import.
"""

import time
from collections.abc import Callable
from typing import Any

import structlog
from redis.exceptions import RedisError

TIMEOUT_S = 0.25
PAUSE_S = 1.0
"""How long Redis is skipped after a failure, so that it does not delay every request."""

OPTIONS: dict[str, Any] = {
    "socket_timeout": TIMEOUT_S,
    "socket_connect_timeout": TIMEOUT_S,
    "retry": None,
}
"""Options of a client that must not delay a request."""
REDIS_ERRORS = (RedisError, OSError, TimeoutError)

log = structlog.get_logger()


class RedisBreaker:
    """Circuit breaker for Redis.

    After a failure Redis is skipped for one second. Only changes of its state are logged.
    """

    def __init__(
        self,
        use: str,
        *,
        on_change: Callable[[bool], None] = lambda up: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with a closed breaker: Redis is used.

        Args:
            use: purpose of Redis, for the log.
            on_change: called with True when Redis answers again, and with False when it fails.
            clock: monotonic, in seconds.
        """
        self._use = use
        self._on_change = on_change
        self._clock = clock
        self._paused_until_s = 0.0
        self._is_up = True

    @property
    def is_paused(self) -> bool:
        """Whether Redis must be skipped now."""
        return self._clock() < self._paused_until_s

    def answered(self) -> None:
        """Record that Redis answered."""
        if not self._is_up:
            self._is_up = True
            self._on_change(True)
            log.info("Redis answers again", use=self._use)

    def failed(self, error: Exception) -> None:
        """Record that Redis failed, and skip it for a while."""
        self._paused_until_s = self._clock() + PAUSE_S
        if self._is_up:
            self._is_up = False
            self._on_change(False)
            # The text of the error is not logged: it may hold the URL with its password.
            log.warning("Redis does not answer", use=self._use, error=type(error).__name__)
