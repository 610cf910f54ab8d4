"""Normalized client addresses, and the addresses that trusted proxies report."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.auth.addresses import client_of
from ingest.server.trusted_proxies import TrustedProxies


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.1", " 192.0.2.1 ", "192.0.2.1:5678", "::ffff:192.0.2.1", "::FFFF:192.0.2.1",
        "::ffff:c000:201", "[::ffff:192.0.2.1]", "[::ffff:192.0.2.1]:80", '"192.0.2.1:80"',
        "0:0:0:0:0:ffff:192.0.2.1", "64:ff9b::192.0.2.1",
    ],
)  # fmt: skip
def test_an_ipv4_client_is_one_client_however_it_is_written(text: str) -> None:
    assert client_of(text) == "192.0.2.1"


@pytest.mark.parametrize(
    "text",
    [
        "2001:db8:1:2::1", "2001:DB8:1:2::1", "[2001:db8:1:2::1]:443", "[2001:db8:1:2::1]",
        "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:0db8:0001:0002:0000:0000:0000:0001",
        "2001:db8:1:2::1%eth0", "[2001:db8:1:2::1%25eth0]:80",
    ],
)  # fmt: skip
def test_an_ipv6_customer_is_one_client(text: str) -> None:
    assert client_of(text) == "2001:db8:1:2::"


@given(st.ip_addresses(v=4), st.integers(0, 65_535))
def test_ports_and_mapping_change_no_ipv4_client(address: Any, port: int) -> None:
    forms = [f"{address}", f"{address}:{port}", f"::ffff:{address}", f"[::ffff:{address}]:{port}"]
    assert {client_of(form) for form in forms} == {str(address)}


@given(st.text())
def test_any_text_stands_for_somebody(text: str) -> None:
    assert len(client_of(text)) <= 45


def client_seen(client: str, trusted: list[str], *forwarded: str, proto: str = "") -> Any:
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)

    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    headers += [(b"x-forwarded-proto", proto.encode())] if proto else []
    scope = {"type": "http", "client": (client, 1), "headers": headers, "scheme": "http"}
    asyncio.run(TrustedProxies(app, trusted)(scope, None, None))  # type: ignore[arg-type]
    return seen["client"][0], seen["scheme"]


@pytest.mark.parametrize(
    ("client", "trusted", "forwarded", "expected"),
    [
        ("10.0.0.1", ["10.0.0.1"], ["192.0.2.7"], "192.0.2.7"),
        ("::ffff:10.0.0.1", ["10.0.0.0/8"], ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["::ffff:10.0.0.0/104"], ["192.0.2.7"], "192.0.2.7"),
        ("fd00::1", ["fd00::/8"], ["[2001:db8::7]:443"], "2001:db8::7"),
        # Addresses before the first untrusted one may be forged.
        ("10.0.0.1", ["10.0.0.0/8"], ["1.1.1.1, 192.0.2.7, 10.0.0.9:80"], "192.0.2.7"),
        ("10.0.0.1", ["10.0.0.0/8"], ["1.1.1.1", "192.0.2.7", "10.0.0.9"], "192.0.2.7"),
        ("10.0.0.1", ["10.0.0.0/8"], ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["10.0.0.0/8"], ["  ,, ::ffff:192.0.2.7 , "], "192.0.2.7"),
        ("10.0.0.1", ["10.0.0.0/8"], ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.0/8"], ["192.0.2.7, \xff<x>, 10.0.0.9"], "10.0.0.9"),
        ("10.0.0.1", ["::/0"], ["192.0.2.7"], "192.0.2.7"),
        ("fe80::1%eth0", ["fe80::/10"], ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["10.0.0.0/8"], ["", " "], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.0/8"], [], "10.0.0.1"),
        ("192.0.2.9", ["10.0.0.0/8"], ["1.1.1.1"], "192.0.2.9"),
        ("192.0.2.9", [], ["1.1.1.1"], "192.0.2.9"),
    ],
)
def test_a_request_comes_from_whom_trusted_proxies_say(
    client: str, trusted: list[str], forwarded: list[str], expected: str
) -> None:
    assert client_seen(client, trusted, *forwarded)[0] == expected


def test_a_trusted_proxy_says_the_scheme_too() -> None:
    assert client_seen("10.0.0.1", ["10.0.0.1"], "192.0.2.7", proto="HTTPS")[1] == "https"
    assert client_seen("10.0.0.1", ["10.0.0.1"], "192.0.2.7", proto="gopher")[1] == "http"
    assert client_seen("192.0.2.9", ["10.0.0.1"], "192.0.2.7", proto="https")[1] == "http"
