"""A Redis that may be away: never waited for twice, and said once.

Imported only where there is a Redis: its client takes half a second to import.
"""

import time
from collections.abc import Callable
from typing import Any

import structlog
from redis.exceptions import RedisError

TIMEOUT_S = 0.25
PAUSE_S = 1.0
"""Between attempts at a Redis that does not answer, so that it slows down one request alone."""

OPTIONS: dict[str, Any] = {
    "socket_timeout": TIMEOUT_S,
    "socket_connect_timeout": TIMEOUT_S,
    "retry": None,
}
"""For a client that must not keep a request waiting."""
REDIS_ERRORS = (RedisError, OSError, TimeoutError)

log = structlog.get_logger()


class RedisBreaker:
    """Whether Redis answers, as one user of it sees it."""

    def __init__(
        self,
        use: str,
        *,
        on_change: Callable[[bool], None] = lambda up: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """use: what it is for, in the log; on_change: told whether it answers; clock: monotonic."""
        self._use = use
        self._on_change = on_change
        self._clock = clock
        self._paused_until_s = 0.0
        self._is_up = True

    @property
    def is_paused(self) -> bool:
        """Whether to do without it for now."""
        return self._clock() < self._paused_until_s

    def answered(self) -> None:
        if not self._is_up:
            self._is_up = True
            self._on_change(True)
            log.info("Redis answers again", use=self._use)

    def failed(self, error: Exception) -> None:
        self._paused_until_s = self._clock() + PAUSE_S
        if self._is_up:
            self._is_up = False
            self._on_change(False)
            # Not the error's text: it may name the URL, which may hold a password.
            log.warning("Redis does not answer", use=self._use, error=type(error).__name__)
