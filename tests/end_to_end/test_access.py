"""Who may do what: keys and their scopes, browsers, rate limits, and the door without keys."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import urllib3

from bench.harness.service import Service, free_port
from tests.contract.redis_server import running_redis
from tests.deploy.programs import require
from tests.end_to_end.api import event, post
from tests.faults.harness import wait_until

BATCH = {"events": [event("a")] * 10}
# Two workers are the harder case, and storage has no part in it.
SERVICE_MODES = ("server",)


def command(data_dir: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "ingest", "keys", *arguments, "--data-dir", str(data_dir)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    return done


def create(data_dir: Path, *scopes: str, **options: str) -> str:
    arguments = [f"--scope={scope}" for scope in scopes]
    arguments += [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    return command(data_dir, "create", "test", *arguments).stdout.strip()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    data_dir = tmp_path_factory.mktemp("keys")
    made = {scope: create(data_dir, scope) for scope in ("ingest", "query", "admin")}
    made["browser"] = create(data_dir, "ingest", origin="https://shop.example.com")
    made["slow"] = create(data_dir, "ingest", requests_rate="5/minute")
    made["file"] = str(data_dir / "keys.json")
    return made


@pytest.fixture(scope="module")
def guarded(new_service: Callable[..., Service], keys: dict[str, str]) -> Service:
    service = new_service(
        EVENT_STREAM_KEYS__FILE=keys["file"], EVENT_STREAM_RATE_LIMITS__FAILURES="1000/second"
    )
    service.start()
    return service


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/events", "ingest"),
        ("POST", "/v1/events/batch", "ingest"),
        ("GET", "/events?limit=1", "query"),
        ("GET", "/v1/events/metrics?event_name=a", "query"),
        ("GET", "/events/names", "query"),
        ("GET", "/metrics", "admin"),
        ("GET", "/debug/ledger", "admin"),
    ],
)
def test_every_path_needs_its_scope(
    guarded: Service, keys: dict[str, str], method: str, path: str, scope: str
) -> None:
    def status(headers: dict[str, str]) -> int:
        body = b'{"name":"a","channel_type":"web"}' if path == "/events" else b"[]"
        content = {"body": body} if method == "POST" else {}
        reply = guarded.request(method, path, headers=headers, **content)
        return int(reply.status)

    assert status({}) == 401
    assert status(bearer("es_000000000000_" + "A" * 43)) == 401
    assert status({"Authorization": f"Basic {keys[scope]}"}) == 401
    for other in ("ingest", "query", "admin"):
        expected = (200, 201) if other == scope else (403,)
        assert status(bearer(keys[other])) in expected
        assert status({"X-API-Key": keys[other]}) in expected


@pytest.mark.parametrize(("scope", "status"), [("ingest", 405), ("query", 403), ("admin", 403)])
def test_a_post_to_a_path_for_queries_tells_only_a_sender_the_methods(
    guarded: Service, keys: dict[str, str], scope: str, status: int
) -> None:
    reply = guarded.request("POST", "/events/metrics", body=b"{}", headers=bearer(keys[scope]))
    assert reply.status == status


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/swagger/index.html", "/openapi.json"])
def test_health_and_documentation_are_for_everyone(guarded: Service, path: str) -> None:
    reply = guarded.request("GET", path)
    assert reply.status == 200
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in reply.headers["Content-Security-Policy"]


def test_the_refusal_says_what_to_do(guarded: Service) -> None:
    reply = guarded.request("GET", "/events/names")
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    assert reply.json() == {
        "message": "A valid key is needed, in Authorization: Bearer or in X-API-Key",
        "code": 401,
    }


@pytest.mark.parametrize("name", ["api_key", "apikey", "key", "access_token", "anything"])
def test_a_key_in_the_url_is_refused(guarded: Service, keys: dict[str, str], name: str) -> None:
    path = f"/events/names?{name}={keys['query']}"
    assert guarded.request("GET", path, headers=bearer(keys["query"])).status == 400


@pytest.mark.parametrize("path", ["/events", "/v1/events/batch"])
def test_a_beacon_has_its_key_in_the_url(guarded: Service, keys: dict[str, str], path: str) -> None:
    """`navigator.sendBeacon(url, JSON.stringify(...))` sets the type text/plain, and no header."""
    value: object = event("beacon") if path == "/events" else BATCH
    url = f"{path}?browser_key={keys['browser']}"

    def sent(url: str, origin: str | None = "https://shop.example.com") -> int:
        headers = {} if origin is None else {"Origin": origin}
        return post(guarded, url, value, content_type="text/plain", **headers).status

    assert sent(url) == 201
    assert sent(url, "https://elsewhere.example.com") == sent(url, None) == 403
    assert sent(url[:-1] + "_") == sent(f"{path}?browser_key=") == 401
    # Only keys for browsers, which are no secret, may be in a URL.
    for other in ("ingest", "query", "admin"):
        assert sent(f"{path}?browser_key={keys[other]}") == 400
    assert sent(f"{path}?key={keys['browser']}") == 400
    assert sent(f"{url}&token={keys['ingest']}") == 400
    assert sent(f"{url}&browser_key={keys['ingest']}") == 400
    secret = f"{path}?browser_key={keys['query']}"
    assert post(guarded, secret, value, **bearer(keys["ingest"])).status == 400
    assert guarded.request("GET", f"/events/names?browser_key={keys['browser']}").status == 403


def test_who_has_no_key_is_not_even_read(guarded: Service) -> None:
    # A body that is over the limit, and would be 413.
    assert post(guarded, "/events/batch", body=b" " * (17 << 20)).status in (401, 413)
    for _ in range(20):  # and is told that the connection ends, or its next request would be lost
        reply = post(guarded, "/events/batch", body=b"[" * 1_000_000)
        assert (reply.status, reply.headers["Connection"]) == (401, "close")
        reply = guarded.request("GET", "/events/names")
        assert (reply.status, reply.headers.get("Connection")) == (401, None)


def test_one_with_a_key_hears_what_is_wrong_with_the_request_itself(
    guarded: Service, keys: dict[str, str]
) -> None:
    long = guarded.request("GET", f"/events/names?x={'a' * 9_000}", headers=bearer(keys["query"]))
    assert long.status == 414


def test_keys_are_made_rotated_and_revoked_while_the_service_runs(
    new_service: Callable[..., Service], tmp_path: Path
) -> None:
    service = new_service(EVENT_STREAM_KEYS__FILE=str(tmp_path / "keys.json"))
    service.start()
    assert post(service, "/events", event("a")).status == 201
    first = create(tmp_path, "ingest")
    wait_until(lambda: post(service, "/events", event("a")).status == 401)
    assert post(service, "/events", event("a"), **bearer(first)).status == 201
    key_id = first.split("_")[1]
    second = command(tmp_path, "rotate", key_id).stdout.strip()
    wait_until(lambda: post(service, "/events", event("a"), **bearer(second)).status == 201)
    assert post(service, "/events", event("a"), **bearer(first)).status == 201
    command(tmp_path, "revoke", key_id)
    wait_until(lambda: post(service, "/events", event("a"), **bearer(first)).status == 401)
    assert post(service, "/events", event("a"), **bearer(second)).status == 201
    listed = command(tmp_path, "list").stdout
    assert "revoked" in listed
    assert "valid" in listed
    assert second.rpartition("_")[2] not in listed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "x", "--scope", "root"], "A scope is one of ingest, query, admin"),
        (
            ["create", "x", "--scope", "query", "--origin", "https://a.example"],
            "only the scope ingest",
        ),
        (["create", "x", "--scope", "ingest", "--origin", "a.example/x"], "no path"),
        (["create", "x", "--scope", "ingest", "--events-rate", "many"], "100/second"),
        (["revoke", "nobody"], "no key nobody"),
        (["rotate", "nobody"], "no key nobody"),
    ],
)
def test_commands_say_what_is_wrong(tmp_path: Path, arguments: list[str], message: str) -> None:
    assert message in command(tmp_path, *arguments, code=2).stderr


def test_the_tools_send_a_key_from_a_file(
    guarded: Service, keys: dict[str, str], tmp_path: Path
) -> None:
    data, key = tmp_path / "events.ndjson", tmp_path / "key"
    data.write_text('{"name":"tools","channel_type":"web"}\n')
    key.write_text(keys["ingest"] + "\n")
    line = [sys.executable, "-m", "ingest", "load", str(data), "--url", guarded.url]
    refused = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert "401: A valid key is needed" in refused.stderr
    loaded = subprocess.run([*line, "--key-file", str(key)], capture_output=True, timeout=60)
    assert loaded.returncode == 0
    key.write_text(create(Path(keys["file"]).parent, "ingest", "query"))
    line = [str(Path(sys.executable).parent / "locust"), "-f", "bench/locustfile.py", "--headless"]
    line += ["--users", "2", "--spawn-rate", "2", "--run-time", "3s", "--stop-timeout", "10"]
    line += ["--host", guarded.url, "--key-file", str(key), "MixedUser"]
    wait_until(
        lambda: post(guarded, "/events", event("a"), **bearer(key.read_text())).status == 201
    )
    shot = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert shot.returncode == 0, shot.stdout + shot.stderr


def test_browsers_on_listed_origins_may_send_events(guarded: Service, keys: dict[str, str]) -> None:
    asking = {
        "Origin": "https://shop.example.com",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    preflight = guarded.request("OPTIONS", "/events", headers=asking)
    assert preflight.status == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == "https://shop.example.com"
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    other = guarded.request("OPTIONS", "/events", headers=asking | {"Origin": "https://evil"})
    assert "Access-Control-Allow-Origin" not in other.headers

    def send(origin: str | None, key: str) -> urllib3.BaseHTTPResponse:
        headers = {"Origin": origin} if origin else {}
        return post(guarded, "/events", event("a"), **bearer(keys[key]), **headers)

    sent = send("https://shop.example.com", "browser")
    assert sent.status == 201
    assert sent.headers["Access-Control-Allow-Origin"] == "https://shop.example.com"
    assert send("https://evil", "browser").status == 403
    assert send(None, "browser").status == 403
    assert send(None, "ingest").status == 201


def test_one_who_sends_too_much_starves_nobody_else(guarded: Service, keys: dict[str, str]) -> None:
    # Each worker has its own window.
    replies = [post(guarded, "/events", event("a"), **bearer(keys["slow"])) for _ in range(20)]
    refused = [reply for reply in replies if reply.status == 429]
    assert refused
    assert {reply.status for reply in replies} == {201, 429}
    assert refused[-1].headers["RateLimit-Limit"] == "5"
    assert refused[-1].headers["RateLimit-Remaining"] == "0"
    assert 1 <= int(refused[-1].headers["Retry-After"]) <= 120
    assert post(guarded, "/events", event("a"), **bearer(keys["ingest"])).status == 201


def test_guessing_keys_is_slowed_down(
    new_service: Callable[..., Service], keys: dict[str, str]
) -> None:
    service = new_service(
        EVENT_STREAM_KEYS__FILE=keys["file"], EVENT_STREAM_RATE_LIMITS__FAILURES="10/minute"
    )
    service.start()
    guesses = [post(service, "/events", event("a"), **bearer("guess")).status for _ in range(50)]
    assert set(guesses) == {401, 429}
    assert post(service, "/events", event("a"), **bearer(keys["ingest"])).status == 201


def test_addresses_are_limited_in_requests_and_events_and_proxies_are_believed_if_told(
    new_service: Callable[..., Service], tmp_path: Path
) -> None:
    with running_redis(tmp_path) as redis:
        service = new_service(
            EVENT_STREAM_RATE_LIMITS__REQUESTS="30/minute",
            EVENT_STREAM_RATE_LIMITS__EVENTS="100/minute",
            EVENT_STREAM_PROXIES__TRUSTED='["127.0.0.0/8"]',
            EVENT_STREAM_REDIS_URL=redis.url,
        )
        service.start()

        def sent_from(address: str, value: object, count: int) -> list[int]:
            path = "/events/batch" if value is BATCH else "/events"
            headers = {"X-Forwarded-For": address}
            return [post(service, path, value, **headers).status for _ in range(count)]

        # All workers count together, so the numbers are exact.
        assert sent_from("192.0.2.1", event("a"), 40) == [201] * 30 + [429] * 10
        assert sent_from("192.0.2.2", BATCH, 15) == [201] * 10 + [429] * 5
        assert sent_from("2001:db8::1", BATCH, 10) == [201] * 10
        assert sent_from("2001:db8::2", BATCH, 1) == [429]  # a neighbour in the same network
        assert sent_from("2001:db8:0:1::1", BATCH, 1) == [201]
        many = {"events": [event("a")] * 101}
        assert post(service, "/events/batch", many, X_Forwarded_For="192.0.2.3").status == 413
        with redis.frozen():
            assert sent_from("192.0.2.4", event("a"), 1) == [201]


def test_nobody_is_believed_who_is_no_proxy_of_ours(new_service: Callable[..., Service]) -> None:
    service = new_service(EVENT_STREAM_RATE_LIMITS__REQUESTS="5/minute")
    service.start()
    replies = [
        post(service, "/events", event("a"), X_Forwarded_For=f"192.0.2.{number}").status
        for number in range(30)
    ]
    assert 429 in replies


def test_without_keys_no_other_address_than_loopback_is_listened_on(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "ingest", "serve", "--host", "0.0.0.0", "--port"]
    line += [str(free_port()), "--data-dir", str(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "keys create" in done.stderr
    assert "insecure: true" in done.stderr


def test_tls_is_spoken_when_there_is_a_certificate(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    environment = {
        "EVENT_STREAM_TLS__CERTIFICATE": str(cert), "EVENT_STREAM_TLS__KEY": str(key)
    }  # fmt: skip
    service = Service(tmp_path, environment=environment)
    service.http = urllib3.PoolManager(ca_certs=str(cert), retries=False)
    service.scheme = "https"
    service.start()
    try:
        assert post(service, "/events", event("secret")).status == 201
    finally:
        assert service.stop() == 0


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    line = [
        require("openssl"),
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
    ]
    line += ["/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*line, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def test_logs_have_one_line_for_each_entry_and_no_key(
    new_service: Callable[..., Service],
    keys: dict[str, str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    service = new_service(
        EVENT_STREAM_KEYS__FILE=keys["file"],
        EVENT_STREAM_LOG__FORMAT="json",
        EVENT_STREAM_LOG__LEVEL="debug",
    )
    service.start()
    evil = 'x\r\n{"event":"forged"}\u2028'
    for header in ({}, bearer(keys["ingest"]), bearer("x" * 100)):
        post(service, "/events", event(evil, id=evil), **header)
        post(service, "/events/%0d%0aforged", event("a"), **header)
    service.request("GET", f"/events/names?key={keys['query']}&x=%0d%0aforged")
    service.stop()
    printed = "".join(capfd.readouterr())
    for name in ("ingest", "query"):
        assert keys[name].rpartition("_")[2] not in printed
    for line in printed.splitlines():
        assert not re.match(r"^(\{\"event\":\"forged|forged)", line)
