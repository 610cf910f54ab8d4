"""Normalized client addresses.

The same client can appear with different texts. An IPv4 address can be mapped into IPv6: a socket
that listens on `::` sees `::ffff:192.0.2.1`, and a NAT64 gateway sends `64:ff9b::192.0.2.1`. An
address can also have a port, brackets or a zone. All these texts must give one client.
"""

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Network = IPv4Network | IPv6Network

TEXT_CHARACTERS_MAX = 45
"""How much of a text is kept that is not an address: as much as the longest address has."""
CUSTOMER_BITS = 64
"""The network part of an IPv6 address. One customer has all addresses of a /64 network."""
_MAPPING = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
"""IPv4 mapped into IPv6 (RFC 4291, section 2.5.5.2, and RFC 6052).

The last 32 bits are the IPv4 address.
"""


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an address that may have brackets, a port and a zone; None if it is not one."""
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
    """Return the client for an address: the IPv4 address itself, or the /64 network for IPv6.

    A text that is not an address stands for itself, in lower case and cut to 45 characters.
    """
    address = parse_address(text)
    if address is None:
        return text.strip().lower()[:TEXT_CHARACTERS_MAX]
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> CUSTOMER_BITS << CUSTOMER_BITS))
    return str(address)


def networks_of(text: str) -> list[Network]:
    """Return the network, and the IPv4 addresses in it if it is an IPv6 network.

    Raises:
        ValueError: `text` is not an address or a network.
    """
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
