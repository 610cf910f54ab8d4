"""How full the service is, on every response: clients may slow down before they are refused."""

from collections.abc import Callable, Mapping

HEADER = "Event-Stream-Saturation"
OLD_HEADER, OLD_NAMES = "Event-Stream-Fill", {"wal": "log"}
"""The name of the header and of its parts until version 0.1; they go with the next version."""
FRESH_S = 0.1
"""PERF: the header's text is made at most this often."""


class Saturation:
    """`Event-Stream-Saturation: buffer=0.010;bytes=268435456, wal=0.002;bytes=…`.

    A dictionary as in RFC 8941: for each part the share that is used, and its limit in bytes.
    """

    def __init__(
        self, parts: Mapping[str, tuple[Callable[[], int], int]], clock: Callable[[], float]
    ) -> None:
        """Watch the parts.

        Args:
            parts: used bytes and the limit in bytes, by name.
            clock: monotonic, in seconds.
        """
        self._parts = parts
        self._clock = clock
        self._made_s = float("-inf")
        self._headers: Mapping[str, str] = {}

    def headers(self) -> Mapping[str, str]:
        """Return the headers, the same object until they are made anew."""
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
