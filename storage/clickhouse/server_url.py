"""Parse the URL of a ClickHouse server, and explain what is wrong with an invalid URL.

The scheme decides whether TLS is used; the port does not matter. Error messages contain no part of
the URL that may be a password.
"""

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import parse_qsl, unquote, urlsplit

PORTS = {"http": 8123, "https": 8443}
TLS_OPTIONS = ("ca_cert", "client_cert", "client_cert_key", "verify")
"""Options of the query string: PEM files, and whether the server's certificate is verified."""
USER_DEFAULT = "default"

_ESCAPES = "write @ as %40, : as %3A, / as %2F, ? as %3F, # as %23, [ as %5B, ] as %5D and % as %25"


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """The parts of the URL.

    Attributes:
        scheme: http or https.
        host: name or address, without brackets.
        port: TCP port.
        user: name of the ClickHouse user.
        password: password of the user.
        database: name of the database, or None for the default database of the user.
        ca_cert: PEM file of the authority that signed the server's certificate.
        client_cert: PEM file with the certificate of the client.
        client_cert_key: PEM file with the key of the client.
        verify: whether the server's certificate is verified.
    """

    scheme: str
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str | None
    ca_cert: str | None = None
    client_cert: str | None = None
    client_cert_key: str | None = None
    verify: bool = True

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine."""
        if self.host == "localhost":
            return True
        try:
            return bool(ip_address(self.host).is_loopback)
        except ValueError:  # a name
            return False

    @property
    def address(self) -> str:
        """The URL without user, password and database, for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_server_url(url: str) -> ServerUrl:
    """Parse the URL of a server.

    Raises:
        ValueError: the URL is not valid. The message says what to write instead.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    if re.search(r"[\s\x00-\x1f\x7f\\]", url):
        raise ValueError("must have no spaces, control characters or backslashes: escape them")
    if re.search(r"%(?![0-9A-Fa-f]{2})", url):
        raise ValueError(f"has a % that starts no escape: in user and password {_ESCAPES}")
    try:
        parts = urlsplit(url)
    except ValueError:  # its text may contain the password
        raise ValueError(f"can't be read: in user and password {_ESCAPES}") from None
    userinfo, _, _ = parts.netloc.rpartition("@")
    path = parts.path.removesuffix("/")
    if "#" in url or "@" in userinfo or "@" in path or "@" in parts.query:
        raise ValueError(f"can't be split into its parts: in user and password {_ESCAPES}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"has no valid host and port: in user and password {_ESCAPES}") from None
    if not host or port == 0:
        raise ValueError("must name a host, such as http://user:password@clickhouse:8123/database")
    if "/" in path.removeprefix("/"):
        raise ValueError(f"may have only one name after the host, the database: in it {_ESCAPES}")
    options = _tls_options(parts.scheme, parts.query)
    user, _, password = userinfo.partition(":")
    return ServerUrl(
        parts.scheme,
        host,
        port or PORTS[parts.scheme],
        unquote(user) or USER_DEFAULT,
        unquote(password),
        unquote(path.removeprefix("/")) or None,
        ca_cert=options.get("ca_cert"),
        client_cert=options.get("client_cert"),
        client_cert_key=options.get("client_cert_key"),
        verify=options.get("verify") != "false",
    )


def _tls_options(scheme: str, query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    allowed = ", ".join(TLS_OPTIONS)
    if query and (not pairs or len(options) < len(pairs) or not set(options) <= set(TLS_OPTIONS)):
        raise ValueError(f"may have only these query options, each once: {allowed}")
    if options and scheme != "https":
        raise ValueError(f"must start with https:// to have the query options {allowed}")
    if options.get("verify", "true") not in ("true", "false"):
        raise ValueError("must have verify=true or verify=false")
    if "client_cert_key" in options and "client_cert" not in options:
        raise ValueError("must have client_cert beside client_cert_key")
    if "" in options.values():
        raise ValueError("must have a value for each query option")
    return options
