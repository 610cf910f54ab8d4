"""The headers that are read from requests, and the headers of every response."""

from collections.abc import Callable, Mapping, Sequence

from falcon.asgi import Request, Response

from ingest.errors import PayloadError
from ingest.parsing.formats import JSON_TYPES
from ingest.pipeline.request import ACKS, Ack

IDEMPOTENCY_KEY_LENGTH_MAX = 256
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Swagger UI has its script in the page; nothing is loaded from another origin.
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " frame-ancestors 'none'",
}


def media_type(req: Request) -> str:
    """Return the media type of the body, without parameters; JSON if the header is missing."""
    return (req.content_type or JSON_TYPES[0]).partition(";")[0].strip().lower()


def idempotency_key(req: Request) -> str | None:
    """Return the Idempotency-Key, if there is one.

    Raises:
        PayloadError: it is empty or too long.
    """
    key = req.get_header("Idempotency-Key")
    if key is not None and not 1 <= len(key) <= IDEMPOTENCY_KEY_LENGTH_MAX:
        raise PayloadError(
            f"Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_LENGTH_MAX} characters"
        )
    return key


class AckPolicy:
    """Chooses what a 201 promises, from `Prefer: ack=…` (RFC 7240) or the setting."""

    def __init__(self, *, default: Ack, has_wal: bool) -> None:
        """Set the default.

        Args:
            default: the level of a request without `Prefer: ack`.
            has_wal: whether there is a WAL. Without one, `durable` becomes `buffered`.
        """
        self._default = default
        self._has_wal = has_wal

    @property
    def default(self) -> Ack:
        """The level of a request that does not ask for one."""
        return self._possible(self._default)

    def asked_for(self, req: Request) -> Ack:
        """Return the level that will be applied.

        Raises:
            PayloadError: there is no such level.
        """
        ack = self._default
        preference = req.get_header("Prefer")
        if preference is not None:
            ack = _preferred(preference) or ack
        return self._possible(ack)

    def _possible(self, ack: Ack) -> Ack:
        return "buffered" if ack == "durable" and not self._has_wal else ack


def _preferred(preference: str) -> Ack | None:
    for token in preference.split(","):
        name, _, value = token.partition(";")[0].partition("=")
        if name.strip().lower() == "ack":
            value = value.strip().strip('"').lower()
            for ack in ACKS:
                if value == ack:
                    return ack
            raise PayloadError(f"Prefer: ack must be one of {', '.join(ACKS)}")
    return None


class ResponseHeaders:
    """Falcon middleware that sets the headers of every response. The fast path uses it, too."""

    def __init__(self, saturation: Callable[[], Mapping[str, str]]) -> None:
        """Set the source of the saturation headers; `saturation` is called for every response."""
        self._saturation = saturation
        self._encoded_for: Mapping[str, str] | None = None
        self._encoded: Sequence[tuple[bytes, bytes]] = ()

    async def process_response(
        self, req: Request, resp: Response, resource: object, req_succeeded: bool
    ) -> None:
        """Set the headers."""
        resp.set_headers(SECURITY_HEADERS)
        resp.set_headers(self._saturation())

    def encoded(self) -> Sequence[tuple[bytes, bytes]]:
        """Return the same headers in the form of ASGI."""
        saturation = self._saturation()
        if saturation is not self._encoded_for:  # PERF: it changes only ten times a second
            self._encoded_for = saturation
            self._encoded = encoded({**SECURITY_HEADERS, **saturation})
        return self._encoded


def encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return headers in the form of ASGI."""
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]
