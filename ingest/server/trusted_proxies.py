"""The client address and the scheme of requests that come through trusted proxies."""

from collections.abc import Sequence

from ingest.auth.addresses import networks_of, parse_address
from ingest.http.asgi import AsgiApp, AsgiScope, Receive, Send


class TrustedProxies:
    """ASGI app around another app that sets the real client of requests from trusted proxies.

    The client is the last address in `X-Forwarded-For` that is not a trusted proxy. Addresses
    before it can be forged. If an entry is not an address, the client is the proxy that sent it.
    The scheme is `X-Forwarded-Proto`.
    """

    def __init__(self, app: AsgiApp, trusted: Sequence[str]) -> None:
        """Wrap `app`.

        Args:
            app: gets all requests.
            trusted: addresses and networks of the proxies.
        """
        self._app = app
        self._networks = [network for text in trusted for network in networks_of(text)]

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Set the client and the scheme, and pass the request on."""
        client = scope.get("client")
        if scope["type"] == "http" and client and self._trusts(client[0]):
            self._apply_headers(scope)
        await self._app(scope, receive, send)

    def _apply_headers(self, scope: AsgiScope) -> None:
        forwarded = _values(scope, b"x-forwarded-for")
        hosts = [host for value in forwarded for host in value.split(",") if host.strip()]
        if hosts:
            scope["client"] = (self._client(scope["client"][0], hosts), 0)
        schemes = [scheme.strip().lower() for scheme in _values(scope, b"x-forwarded-proto")]
        if schemes and schemes[0] in ("http", "https"):
            scope["scheme"] = schemes[0]

    def _client(self, proxy: str, hosts: Sequence[str]) -> str:
        """Return the last of `hosts` that is not a trusted proxy, or else the first of them."""
        client = proxy
        for host in reversed(hosts):
            address = parse_address(host)
            if address is None:
                break
            client = str(address)
            if not self._trusts(client):
                break
        return client

    def _trusts(self, text: str) -> bool:
        address = parse_address(text)
        return address is not None and any(address in network for network in self._networks)


def _values(scope: AsgiScope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]
