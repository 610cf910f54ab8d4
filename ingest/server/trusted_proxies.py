"""Requests that come through trusted proxies: who sent them, by X-Forwarded-For."""

from collections.abc import Sequence

from ingest.auth.addresses import networks_of, parse_address
from ingest.http.asgi import AsgiApp, Receive, Scope, Send


class TrustedProxies:
    """An ASGI app around `app`: requests of trusted proxies come from whom those say.

    Of `X-Forwarded-For` the last address counts that is no trusted proxy's: what is before it may
    be anybody's invention. What is no address stands for the proxy that it came from.
    `X-Forwarded-Proto` is the scheme.
    """

    def __init__(self, app: AsgiApp, trusted: Sequence[str]) -> None:
        """trusted: addresses and networks."""
        self._app = app
        self._networks = [network for text in trusted for network in networks_of(text)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if scope["type"] == "http" and client and self._trusts(client[0]):
            self._believe(scope)
        await self._app(scope, receive, send)

    def _believe(self, scope: Scope) -> None:
        said = _values(scope, b"x-forwarded-for")
        hosts = [host for value in said for host in value.split(",") if host.strip()]
        if hosts:
            scope["client"] = (self._client(scope["client"][0], hosts), 0)
        schemes = [scheme.strip().lower() for scheme in _values(scope, b"x-forwarded-proto")]
        if schemes and schemes[0] in ("http", "https"):
            scope["scheme"] = schemes[0]

    def _client(self, proxy: str, hosts: Sequence[str]) -> str:
        """The last of `hosts` that is no trusted proxy, if there is one."""
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


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]
