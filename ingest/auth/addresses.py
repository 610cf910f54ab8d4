"""The client behind an address: one form for each address.

An IPv4 client is the same client however its address is written: by itself, mapped into IPv6 as a
socket that listens on `::` sees it (`::ffff:192.0.2.1`), or as a NAT64 gateway does
(`64:ff9b::192.0.2.1`), with a port, in brackets, with a zone.
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


def networks_of(text: str) -> list[Network]:
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
