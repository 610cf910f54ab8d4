"""URLs of ClickHouse servers: every part comes back as it was, and what is wrong is told."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.clickhouse.server_url import ServerUrl, parse_server_url

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://clickhouse", ServerUrl("http", "clickhouse", 8123, "default", "", None)),
        ("https://clickhouse", ServerUrl("https", "clickhouse", 8443, "default", "", None)),
        ("http://c:8443/db", ServerUrl("http", "c", 8443, "default", "", "db")),
        ("https://u:p@c:9000/db/", ServerUrl("https", "c", 9000, "u", "p", "db")),
        ("http://u@[::1]:1/my-db", ServerUrl("http", "::1", 1, "u", "", "my-db")),
        (
            "https://u:p@c?ca_cert=/etc/ca.pem&verify=false",
            ServerUrl("https", "c", 8443, "u", "p", None, ca_cert="/etc/ca.pem", verify=False),
        ),
    ],
)
def test_the_parts_of_a_url(url: str, expected: ServerUrl) -> None:
    assert parse_server_url(url) == expected


@given(user=st.text(min_size=1), password=st.text(), database=st.text(min_size=1))
def test_whatever_is_escaped_comes_back(user: str, password: str, database: str) -> None:
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    server = parse_server_url(f"http://{login}@host:1/{quote(database, safe='')}")
    assert (server.user, server.password, server.database) == (user, password, database)
    assert server.address == "http://host:1"


@pytest.mark.parametrize("character", list("@/?#%"))
@pytest.mark.parametrize("start", ["12", "ab"], ids=["like a port", "like no port"])
def test_an_unescaped_password_is_refused_with_the_escape_to_write(
    character: str, start: str
) -> None:
    with pytest.raises(ValueError, match=r"@ as %40.*% as %25") as error:
        parse_server_url(f"http://user:{start}{character}{SECRET}@host:8123/db")
    assert SECRET not in str(error.value)
    assert start not in str(error.value).replace("8123", "")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("clickhouse:8123", "http:// or https://"),
        ("tcp://host", "http:// or https://"),
        ("http://", "name a host"),
        ("http:///db", "name a host"),
        ("http://host:0", "name a host"),
        ("http://host:99999", "no valid host and port"),
        ("http://host/one/two", "one name after the host"),
        ("http://ho st", "no spaces"),
        ("http://host\n", "no spaces"),
        ("http://host\\@other", "no spaces"),
        ("http://host/?database=x", "only these query options"),
        ("http://host/?user=x", "only these query options"),
        ("https://host/?max_threads=1", "only these query options"),
        ("https://host/?secure=true", "only these query options"),
        ("https://host/?verify=false&verify=true", "only these query options"),
        ("https://host/?verify", "verify=true or verify=false"),
        ("https://host/?verify=no", "verify=true or verify=false"),
        ("https://host/?ca_cert=", "a value for each"),
        ("https://host/?client_cert_key=/k", "client_cert beside"),
        ("http://host/?verify=false", "https://"),
        ("http://u:hunter2\uff03x@h:8123/db", r"can't be read.*\[ as %5B"),
        ("http://u:hunter2[x@h:8123/db", r"can't be read.*\[ as %5B"),
        ("http://u:hunter2[x]y@h:8123/db", r"\[ as %5B"),
    ],
)
def test_a_url_that_can_not_be_used_is_refused_with_the_reason(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        parse_server_url(url)
    assert SECRET not in str(error.value)


@given(st.text())
def test_any_text_is_a_url_or_refused(text: str) -> None:
    for url in (text, f"http://{text}", f"https://{text}@host"):
        try:
            server = parse_server_url(url)
        except ValueError:
            continue
        assert server.host
        assert 0 < server.port < 65_536


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("[::1]", True),
        ("clickhouse", False), ("10.0.0.1", False), ("localhost.example.com", False),
    ],
)  # fmt: skip
def test_only_a_server_on_this_machine_is_on_loopback(host: str, is_loopback: bool) -> None:
    assert parse_server_url(f"http://{host}:8123/").is_loopback is is_loopback
