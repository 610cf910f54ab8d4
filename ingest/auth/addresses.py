"""Who a request comes from: one form for each address, and what trusted proxies say of it.

An IPv4 client is the same client however it is written: alone, mapped into IPv6 as a socket that
listens on `::` sees it (`::ffff:192.0.2.1`), or as a NAT64 gateway does (`64:ff9b::192.0.2.1`),
with a port, in brackets, with a zone.
"""

from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from ingest.http.body import AsgiApp, Receive, Scope, Send

Network = IPv4Network | IPv6Network

TEXT_CHARACTERS_MAX = 45
"""Of what is no address: as many as the longest address has."""
CUSTOMER_BITS = 64
"""Of an IPv6 address: the network of one customer, who has all addresses in it."""
_MAPPING = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
"""IPv4 within IPv6 (RFC 4291, section 2.5.5.2, and RFC 6052): the last 32 bits are the address."""


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
    if isinstance(address, IPv6Address) and any(address in network for network in _MAPPING):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


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
    be anybody's invention. What is no address stands for the proxy that it came from.
    `X-Forwarded-Proto` is the scheme.
    """

    def __init__(self, app: AsgiApp, trusted: Sequence[str]) -> None:
        """trusted: addresses and networks."""
        self._app = app
        self._networks = [network for text in trusted for network in _networks(text)]

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


def _networks(text: str) -> list[Network]:
    """A network, and what it has of IPv4 when it is one of IPv6. Raises ValueError."""
    network = ip_network(text)
    networks: list[Network] = [network]
    if isinstance(network, IPv6Network):
        for mapping in _MAPPING:
            if network.supernet_of(mapping):
                networks.append(IPv4Network("0.0.0.0/0"))
            elif mapping.supernet_of(network):
                first = int(network.network_address) & 0xFFFF_FFFF
                networks.append(IPv4Network((first, network.prefixlen - mapping.prefixlen)))
    return networks
