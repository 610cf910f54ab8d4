"""The saturation headers of every response. Clients can slow down before they are refused."""

from collections.abc import Callable, Mapping

HEADER = "Event-Stream-Saturation"
OLD_HEADER, OLD_NAMES = "Event-Stream-Fill", {"wal": "log"}
"""The names of the header and of its parts until version 0.1. The next version removes them."""
FRESH_S = 0.1
"""PERF: the texts are reused for this long."""


class Saturation:
    """`Event-Stream-Saturation: buffer=0.010;bytes=268435456, wal=0.002;bytes=…`.

    The value is a dictionary of RFC 8941. Each part has the share that is used, and its limit.
    """

    def __init__(
        self, parts: Mapping[str, tuple[Callable[[], int], int]], clock: Callable[[], float]
    ) -> None:
        """Report the saturation of `parts`.

        Args:
            parts: by name, a function that returns the used bytes, and the limit in bytes.
            clock: monotonic, in seconds.
        """
        self._parts = parts
        self._clock = clock
        self._made_s = float("-inf")
        self._headers: Mapping[str, str] = {}

    def headers(self) -> Mapping[str, str]:
        """Return the headers: the same object for `FRESH_S` seconds, then a new one."""
        now_s = self._clock()
        if now_s - self._made_s >= FRESH_S:
            self._made_s = now_s
            texts = {
                name: f"{used() / limit:.3f};bytes={limit}"
                for name, (used, limit) in self._parts.items()
            }
            old = {OLD_NAMES.get(name, name): text for name, text in texts.items()}
            self._headers = {HEADER: _dictionary(texts), OLD_HEADER: _dictionary(old)}
        return self._headers


def _dictionary(texts: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={text}" for name, text in texts.items())
