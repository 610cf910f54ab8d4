"""How full the service is, on every reply: clients may slow down before they are refused."""

from collections.abc import Callable

from falcon.asgi import Request, Response

HEADER = "Event-Stream-Fill"
FRESH_S = 0.1
"""PERF: the header's text is made anew at most so often."""


class SaturationHeader:
    """Falcon middleware: `Event-Stream-Fill: buffer=0.010;bytes=268435456, log=0.002;bytes=…`.

    A dictionary as in RFC 8941: for each part the share that is used, and its limit in bytes.
    """

    def __init__(
        self, parts: dict[str, tuple[Callable[[], int], int]], clock: Callable[[], float]
    ) -> None:
        """parts: by name, what is used and the limit, in bytes; clock: monotonic, in seconds."""
        self._parts = parts
        self._clock = clock
        self._made_s = float("-inf")
        self._text = ""

    async def process_response(
        self, req: Request, resp: Response, resource: object, req_succeeded: bool
    ) -> None:
        resp.set_header(*self.header())

    def header(self) -> tuple[str, str]:
        """Its name and its value."""
        now_s = self._clock()
        if now_s - self._made_s >= FRESH_S:
            self._made_s = now_s
            self._text = ", ".join(
                f"{name}={used() / limit:.3f};bytes={limit}"
                for name, (used, limit) in self._parts.items()
            )
        return HEADER, self._text
