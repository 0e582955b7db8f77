"""Who may do what: admin routes, foreign names, odd paths and HEAD, against real processes over real sockets."""

import json
import shutil
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from dinrank.service.store.layout import behaviours_key
from tests.fixtures.command import ONE_AD, TIMEOUT_S, Served, run, served
from tests.fixtures.proxy import nginx_in_front_of, proxy_in_front_of
from tests.fixtures.redis_server import RedisServer, wait_until

KEY = "k" * 32
PAGE = "http://evil.test"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("keyless")
    (directory / "other").mkdir()
    return directory


@pytest.fixture(scope="module")
def keyless(home: Path, bundle_path: Path, redis_url: str) -> Iterator[Served]:
    """As somebody starts it who has set nothing, with two workers."""
    with served(home, bundle_path, "--redis", redis_url, "--workers", "2") as running:
        yield running
        assert "Traceback" not in running.output.read_text()


@pytest.fixture(scope="module")
def keyed(home: Path, bundle_path: Path, redis_url: str) -> Iterator[Served]:
    """With API keys, and without admin keys: as the one that a caller without any key once removed a user from."""
    directory = home / "other"
    (directory / "keys").write_text(f"{KEY}\n")
    settings = {"DINRANK_API_KEYS_FILE": str(directory / "keys"), "DINRANK_LOG_FORMAT": "json"}
    with served(directory, bundle_path, "--redis", redis_url, **settings) as running:
        yield running
        log = running.output.read_text()
        assert "Traceback" not in log
        assert KEY not in log
        assert running.admin()["X-API-Key"] not in log


def port_of(service: Served) -> int:
    return int(service.address.rpartition(":")[2])


def asked(service: Served, line: str, *headers: str, body: bytes = b"") -> httpx.Response:
    """The answer to a request that is sent as it is, with a Host of this machine if none is given."""
    lines = [f"{line} HTTP/1.1", *headers, "Connection: close"]
    if not any(each.lower().startswith("host:") for each in headers):
        lines.append(f"Host: 127.0.0.1:{port_of(service)}")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    with socket.create_connection(("127.0.0.1", port_of(service)), timeout=TIMEOUT_S) as caller:
        caller.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        answer = b"".join(iter(partial(caller.recv, 65_536), b""))
    head, _, content = answer.partition(b"\r\n\r\n")
    status, *fields = head.split(b"\r\n")
    pairs = [tuple(field.split(b": ", 1)) for field in fields]
    return httpx.Response(int(status.split()[1]), headers=pairs, content=content)  # type: ignore[arg-type]


def turned_away(service: Served, problem: str) -> float:
    lines = asked(service, "GET /metrics", f"X-API-Key: {KEY}").text.splitlines()
    [line] = [each for each in lines if each.startswith(f'dinrank_turned_away_total{{problem="{problem}"}}')]
    return float(line.rpartition(" ")[2])


# Admin routes

Proxy = Callable[[int, Path], AbstractContextManager[int]]


@pytest.mark.parametrize(
    "proxy",
    [
        pytest.param(lambda behind, _: proxy_in_front_of(behind), id="proxy"),
        pytest.param(
            nginx_in_front_of,
            id="nginx",
            marks=pytest.mark.skipif(not shutil.which("nginx"), reason="no nginx: apt-get install nginx-light"),
        ),
    ],
)
def test_behind_a_local_proxy_admin_routes_take_the_token_alone(
    keyless: Served, keyed: Served, redis_server: RedisServer, tmp_path: Path, proxy: Proxy
) -> None:
    for service in (keyless, keyed):
        redis_server.client.rpush(behaviours_key("1"), '{"item_id":"1","timestamp":7}')
        with proxy(port_of(service), tmp_path) as port:
            ask = partial(httpx.request, timeout=TIMEOUT_S)
            for headers in ({}, {"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}, {"X-API-Key": "x" * 64}):
                for method, path in (("DELETE", "/users/1"), ("DELETE", "/users?user_id=1"), ("POST", "/admin/reload")):
                    assert ask(method, f"http://127.0.0.1:{port}{path}", headers=headers).status_code == 401
            assert redis_server.client.exists(behaviours_key("1"))
            reloaded = ask("POST", f"http://127.0.0.1:{port}/admin/reload", headers=service.admin())
            assert (reloaded.status_code, reloaded.json()["outcome"]) == (200, "unchanged")
            removed = ask("DELETE", f"http://127.0.0.1:{port}/users/1", headers=service.admin())
            assert (removed.status_code, removed.json()["num_behaviours"]) == (200, 1)
            assert not redis_server.client.exists(behaviours_key("1"))


def test_the_address_of_the_caller_opens_no_admin_route(keyless: Served) -> None:
    assert asked(keyless, "POST /admin/reload").status_code == 401
    assert asked(keyless, "DELETE /users/1").status_code == 401
    for _ in range(10):  # so that every worker is among them: they share the token
        assert httpx.post(f"{keyless.address}/admin/reload", headers=keyless.admin(), timeout=TIMEOUT_S).is_success


def tokens(home: Path) -> dict[str, str]:
    """Of all services that were started with this folder for temporary files, by the file's name."""
    return {path.name: path.read_text() for path in (home / "tmp" / "dinrank").iterdir()}


def test_the_token_is_for_the_services_own_account_and_the_log_names_it(keyless: Served, home: Path) -> None:
    directory = home / "tmp" / "dinrank"
    path = directory / f"admin-token-127.0.0.1-{port_of(keyless)}"
    assert f'admin_token_written file="{path}"' in keyless.output.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert len(path.read_text()) == 65  # 256 bits, and the end of the line
    assert path.read_text().strip() not in keyless.output.read_text()
    assert list(directory.iterdir()) == [path]  # nothing is left of the writing


def test_services_side_by_side_have_tokens_of_their_own_each_for_one_run(
    keyless: Served, home: Path, bundle_path: Path, redis_url: str
) -> None:
    first = tokens(home)
    directory = home / "second"
    directory.mkdir()
    with served(directory, bundle_path, "--redis", redis_url, XDG_RUNTIME_DIR=str(home / "tmp")) as second:
        both = tokens(home)
        assert both.items() > first.items()
        assert len(both) == 2
        assert len(set(both.values())) == 2
        second_token = second.admin()
        wrong = httpx.post(f"{second.address}/admin/reload", headers=keyless.admin(), timeout=TIMEOUT_S)
        assert wrong.status_code == 401
        seen = run(home, "doctor", "--bundle", str(bundle_path), "--redis", redis_url, "--port", str(port_of(second)))
        assert f"admin routes take the token in {home / 'tmp' / 'dinrank'}" in seen.stdout
        second.stop(signal.SIGKILL)
        assert tokens(home) == both  # nobody could remove it
        port = port_of(second)
        environment = {"XDG_RUNTIME_DIR": str(home / "tmp")}
        with served(directory, bundle_path, "--redis", redis_url, "--port", str(port), **environment) as again:
            assert tokens(home).items() > first.items()
            reload = partial(httpx.post, f"{again.address}/admin/reload", timeout=TIMEOUT_S)
            assert reload(headers=second_token).status_code == 401
            assert reload(headers=again.admin()).status_code == 200
    assert tokens(home) == first


# Names

SITES = [("GET", path) for path in ("/", "/livez", "/metrics", "/users/1", "/docs", "/playground/users", "/nothing")]


@pytest.mark.parametrize(("method", "path"), [*SITES, ("POST", "/rank"), ("POST", "/behaviours")])
def test_without_keys_a_page_of_another_name_gets_nothing_from_any_path(
    keyless: Served, method: str, path: str
) -> None:
    for headers in (["Host: evil.test"], [f"Origin: {PAGE}"], ["Origin: null"], ["Host: evil.test", f"Origin: {PAGE}"]):
        body = json.dumps(ONE_AD).encode() if method == "POST" else b""
        answer = asked(keyless, f"{method} {path}", "Content-Type: application/json", *headers, body=body)
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:dinrank:problem:forbidden")
        assert "evil" not in answer.text


def test_where_keys_are_needed_the_name_is_the_operators_matter(keyed: Served) -> None:
    assert asked(keyed, "GET /users/1", "Host: shop.example").status_code == 401
    assert asked(keyed, "GET /model", "Host: shop.example", f"X-API-Key: {KEY}").status_code == 200


# Paths

ODD = ["/rank%0a", "/rank%0D%0A", "/metrics%00", "/metrics%0a", "/livez%7f", "/metrics%C2%85", "/metrics%e2%80%a8"]


@pytest.mark.parametrize("path", [*ODD, "/%72ank", "/metric%73", "/admin%2freload", "/users/1%0a", "/users/%ff"])
def test_an_odd_path_is_a_problem_and_is_counted(keyless: Served, keyed: Served, path: str) -> None:
    before = turned_away(keyed, "malformed-path")
    body = json.dumps(ONE_AD).encode()
    for service in (keyless, keyed):
        for method in ("GET", "POST", "HEAD"):
            answer = asked(service, f"{method} {path}", "Content-Type: application/json", body=body)
            assert answer.status_code == 404
            assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-ID"]
    assert turned_away(keyed, "malformed-path") == before + 3


@pytest.mark.parametrize(
    "path", ["/rank\t", "/rank\x0b", "/rank\x01", "/rank\x7f", "/rank\x85", "/metrics#x", "/rank#"]
)
def test_a_target_with_raw_control_characters_or_a_fragment_is_not_http(keyless: Served, path: str) -> None:
    answer = asked(keyless, f"GET {path}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert (answer.headers["X-Content-Type-Options"], answer.headers["Cache-Control"]) == ("nosniff", "no-store")


@pytest.mark.parametrize(
    "path", ["//metrics", "/./metrics", "/metrics/", "/metrics;x", "/metrics%3bx", "/x/../metrics"]
)
def test_what_another_server_might_take_for_a_path_is_none_here(keyless: Served, keyed: Served, path: str) -> None:
    assert asked(keyless, f"GET {path}").status_code == 404
    assert asked(keyed, f"GET {path}").status_code in (401, 404)


# HEAD

_OF_ONE_ANSWER = ("date", "x-request-id", "content-length")


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/metrics", "/model", "/models", "/", "/docs", "/openapi.json", "/users/1", "/rank"]
)
def test_head_is_get_without_the_body(keyless: Served, keyed: Served, path: str) -> None:
    for service, key in ((keyless, ()), (keyed, ()), (keyed, (f"X-API-Key: {KEY}",))):
        got, head = (asked(service, f"{method} {path}", *key) for method in ("GET", "HEAD"))
        assert head.content == b""
        assert got.content
        assert head.status_code == got.status_code
        rest: list[dict[str, Any]] = [
            {name: value for name, value in each.headers.items() if name not in _OF_ONE_ANSWER} for each in (got, head)
        ]
        assert rest[0] == rest[1]
        if path != "/metrics":
            assert head.headers["Content-Length"] == str(len(got.content))


def test_a_connection_goes_on_after_head(keyless: Served) -> None:
    with httpx.Client(base_url=keyless.address, timeout=TIMEOUT_S) as client:
        for method in ("HEAD", "GET", "HEAD", "GET"):
            assert client.request(method, "/readyz").status_code == 200


# Key files


def test_a_key_file_that_is_rewritten_slowly_never_shuts_out_the_key(keyed: Served, home: Path) -> None:
    file = home / "other" / "keys"
    new = "n" * 64

    def status(key: str) -> int:
        return asked(keyed, "GET /model", f"X-API-Key: {key}").status_code

    for length in (0, 10, 20):  # a stump of 20 characters is as long as a key may be, and may not count
        file.write_text(f"{new}\n{KEY}\n"[:length])
        assert status(KEY) == 200
        assert status(new[:20]) == 401
    file.write_text(f"{new}\n{KEY}\n")
    wait_until(lambda: status(new) == 200, "the new key is accepted")
    assert status(KEY) == 200
    assert status(new[:20]) == 401
