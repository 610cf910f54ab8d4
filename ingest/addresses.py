"""Who a request comes from: one form for each address, and what trusted proxies say of it.

An IPv4 client is the same client however it is written: alone, mapped into IPv6 as a socket that
listens on `::` sees it (`::ffff:192.0.2.1`), with a port, in brackets, with a zone.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from ingest.body import AsgiApp, Receive, Scope, Send

TEXT_CHARACTERS_MAX = 45
"""Of what is no address: as many as the longest address has."""
CUSTOMER_BITS = 64
"""Of an IPv6 address: the network of one customer, who has all addresses in it."""


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """None when `text` is no address, with or without brackets, port and zone."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # IPv4 with a port
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def client_of(text: str) -> str:
    """The client whom an address stands for: itself or, of IPv6, its customer's network."""
    address = parse_address(text)
    if address is None:
        return text.strip().lower()[:TEXT_CHARACTERS_MAX]
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> CUSTOMER_BITS << CUSTOMER_BITS))
    return str(address)


class TrustedProxies:
    """An ASGI app around `app`: requests of trusted proxies come from whom those say.

    Of `X-Forwarded-For` the last address counts that is no trusted proxy's: what is before it may
    be anybody's invention. `X-Forwarded-Proto` is the scheme.
    """

    def __init__(self, app: AsgiApp, trusted: Sequence[str]) -> None:
        """trusted: addresses and networks."""
        self._app = app
        self._networks = [_network(text) for text in trusted]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if scope["type"] == "http" and client and self._trusts(client[0]):
            self._believe(scope)
        await self._app(scope, receive, send)

    def _believe(self, scope: dict[str, Any]) -> None:
        said = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        hosts = [host.strip() for value in said for host in value.decode("latin-1").split(",")]
        hosts = [host for host in hosts if host]
        if not hosts:
            return
        host = next((host for host in reversed(hosts) if not self._trusts(host)), hosts[0])
        scope["client"] = (str(parse_address(host) or host), 0)
        schemes = [value for name, value in scope["headers"] if name == b"x-forwarded-proto"]
        if schemes and schemes[0].strip().lower() in (b"http", b"https"):
            scope["scheme"] = schemes[0].strip().lower().decode()

    def _trusts(self, text: str) -> bool:
        address = parse_address(text)
        return address is not None and any(address in network for network in self._networks)


def _network(text: str) -> Any:
    """Of IPv4 also when it is written as mapped into IPv6."""
    network = ip_network(text)
    if isinstance(network, IPv6Network):
        mapped = network.network_address.ipv4_mapped
        if mapped is not None and network.prefixlen >= 96:
            return ip_network((mapped, network.prefixlen - 96))
    return network
