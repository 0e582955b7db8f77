"""Who is let in: with which keys, where, and from where."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.types import Message, Receive, Scope, Send

from dinrank.service.access.keys import digest_of
from dinrank.service.api.key_check import KeyCheck
from dinrank.service.settings import Settings
from dinrank.service.telemetry.metrics import Telemetry

KEY, OTHER, ADMIN = "k" * 32, "o" * 32, "a" * 32
HERE, ELSEWHERE = ("127.0.0.1", 5), ("192.0.2.1", 5)
OPEN = ["/livez", "/readyz", "/docs", "/openapi.json", "/", "/playground/parts/app.js", "/docs/parts/swagger-ui.css"]
CLOSED = [
    "/rank",
    "/metrics",
    "/model",
    "/models",
    "/users/42",
    "/playground/users",
    "/playground/parts",
    "/nothing",
    "/livez/",
    "//livez",
    "/LIVEZ",
    "/docs/oauth2-redirect",
]


async def inside(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def call(
    settings: Settings,
    path: str,
    *headers: tuple[str, str],
    client: Any = HERE,
    method: str = "POST",
    hosts: Sequence[str] = ("localhost",),
    admin_token: bytes | None = None,
) -> list[Message]:
    """What comes back for a request whose body is never asked for. Without `hosts` only the headers count."""
    if not any(name == "Host" for name, _ in headers):
        headers = (*headers, *(("Host", host) for host in hosts))
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was read")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode(),
        "client": client,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "state": {"request_id": "r1"},
    }
    check = KeyCheck(inside, settings=settings, telemetry=Telemetry(), admin_token=admin_token)
    asyncio.run(check(scope, receive, send))
    return sent


def status(settings: Settings, path: str, *headers: tuple[str, str], **more: Any) -> int:
    answered: int = call(settings, path, *headers, **more)[0]["status"]
    return answered


def bearer(key: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {key}")


@pytest.fixture
def keyed(tmp_path: Path) -> Settings:
    (tmp_path / "keys").write_text(f"{KEY}\n{OTHER}\n")
    (tmp_path / "admin").write_text(ADMIN)
    return Settings.read(bundle=Path("b"), api_keys_file=tmp_path / "keys", admin_keys_file=tmp_path / "admin")


@pytest.fixture
def keyless() -> Settings:
    return Settings.read(bundle=Path("b"))


@pytest.mark.parametrize("path", CLOSED)
def test_a_key_is_needed_on_every_path_that_is_not_open(keyed: Settings, path: str) -> None:
    assert status(keyed, path) == 401
    for header in [bearer(KEY), ("authorization", f"bearer  {OTHER}"), ("X-API-Key", OTHER)]:
        assert status(keyed, path, header) == 200


@pytest.mark.parametrize("path", OPEN)
def test_open_paths_need_none(keyed: Settings, path: str) -> None:
    assert status(keyed, path) == 200


@pytest.mark.parametrize(
    "headers",
    [
        [bearer("")],
        [bearer(KEY[:-1])],
        [bearer(KEY + "k")],
        [bearer(KEY.upper())],
        [bearer(ADMIN)],
        [bearer("\xff" * 32)],
        [("Authorization", KEY)],
        [("Authorization", f"Basic {KEY}")],
        [("Authorization", f"Bearer {KEY}, Bearer {OTHER}")],
        [("X-API-Key", "")],
        [("X-API-Key", f"Bearer {KEY}")],
        [("Cookie", KEY)],
        # Two readers might take different ones.
        [bearer(KEY), bearer("x" * 32)],
        [bearer(KEY), bearer(KEY)],
        [("Authorization", f"Basic {KEY}"), ("X-API-Key", KEY)],
    ],
)
def test_whatever_is_not_one_key_is_refused(keyed: Settings, headers: list[tuple[str, str]]) -> None:
    assert status(keyed, "/rank", *headers) == 401


def test_a_refusal_says_what_to_send_and_repeats_nothing(keyed: Settings) -> None:
    start, body = call(keyed, "/rank", bearer("a-wrong-secret"))
    assert (b"www-authenticate", b'Bearer realm="dinrank"') in start["headers"]
    assert (b"content-type", b"application/problem+json") in start["headers"]
    document = json.loads(body["body"])
    assert (document["status"], document["type"]) == (401, "urn:dinrank:problem:unauthorised")
    assert "Authorization: Bearer KEY" in document["detail"]
    assert b"a-wrong-secret" not in body["body"]


OWN = ["localhost", "LOCALHOST", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "[::1]", "127.0.0.2", "LocalHost:1"]
FOREIGN = [
    "evil.test:8000",
    "localhost.evil.test",
    "127.0.0.1.evil.test",
    "192.0.2.1",
    "0.0.0.0",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "127.0.0.01",
    "foo.localhost",
    "localhost.",
    "127.0.0.1.",
    "localhost:",
    "localhost:80:80",
    "localhost:123456",
    "localhost:99999",
    "localhost:x",
    "user@localhost",
    "localhost@evil.test",
    "localhost/",
    "localhost/@evil.test",
    "localhost,evil.test",
    "localhost evil.test",
    "[::1",
    "::1",
    "[::1]evil.test",
    "[::ffff:127.0.0.1]",
    "[127.0.0.1]",
    "[fe80::1]",
    "loc\u00e4lhost",
    "localhost\x00",
    "localhost\n",
    "",
    "[",
    ":8000",
]


@pytest.mark.parametrize("host", OWN)
def test_without_keys_the_service_is_asked_by_a_name_of_this_machine(keyless: Settings, host: str) -> None:
    assert status(keyless, "/users/42", ("Host", host)) == 200
    assert status(keyless, "/users/42", ("Host", host), ("Origin", f"http://{host}")) == 200


@pytest.mark.parametrize("host", FOREIGN)
def test_without_keys_another_name_gets_nothing(keyless: Settings, host: str) -> None:
    for path in ("/users/42", "/", "/livez", "/metrics", "/docs", "/nothing"):
        assert status(keyless, path, ("Host", host)) == 403
        assert status(keyless, path, ("Host", "localhost"), ("Origin", f"http://{host}")) == 403


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Host", "localhost"), ("Host", "localhost")],
        [("Host", "localhost"), ("Host", "evil.test")],
        [("Host", "localhost"), ("Origin", "null")],
        [("Host", "localhost"), ("Origin", "")],
        [("Host", "localhost"), ("Origin", "localhost")],
        [("Host", "localhost"), ("Origin", "file://localhost")],
        [("Host", "localhost"), ("Origin", "chrome-extension://localhost")],
        [("Host", "localhost"), ("Origin", "http://localhost/")],
        [("Host", "localhost"), ("Origin", "http://localhost"), ("Origin", "http://evil.test")],
    ],
)
def test_without_keys_one_host_and_no_foreign_origin_are_needed(
    keyless: Settings, headers: list[tuple[str, str]]
) -> None:
    assert status(keyless, "/users/42", *headers, hosts=()) == 403


def test_a_name_that_a_setting_gives_is_the_service_s_own(keyless: Settings) -> None:
    named = Settings.read(bundle=Path("b"), allowed_hosts="Shop.Example, [2001:DB8::1], 192.0.2.7")
    for host in ("shop.example", "SHOP.example:8000", "[2001:db8::1]:80", "192.0.2.7", "localhost"):
        assert status(named, "/users/42", ("Host", host), hosts=()) == 200
    for host in ("other.example", "a.shop.example", "shop.example.", "[2001:db8::2]", "192.0.2.8"):
        assert status(named, "/users/42", ("Host", host), hosts=()) == 403


def test_where_anybody_is_let_in_names_count_once_they_are_given(keyless: Settings, keyed: Settings) -> None:
    foreign = ("Host", "evil.test")
    for settings in (keyless.model_copy(update={"anonymous": "allowed"}), keyed):
        key = bearer(KEY)
        assert status(settings, "/users/42", foreign, key, hosts=()) == 200
        named = settings.model_copy(update={"allowed_hosts": ("shop.example",)})
        assert status(named, "/users/42", foreign, key, hosts=()) == 403
        assert status(named, "/users/42", ("Host", "shop.example"), key, hosts=()) == 200


def test_admin_paths_take_admin_keys_alone(keyed: Settings) -> None:
    assert status(keyed, "/admin/reload", bearer(ADMIN), client=ELSEWHERE) == 200
    assert status(keyed, "/admin/reload", bearer(KEY)) == 401
    assert status(keyed, "/admin/reload") == 401


@pytest.mark.parametrize("path", ["/users/42", "/users/", "/users"])
def test_to_remove_a_user_takes_an_admin_key_and_to_see_one_does_not(keyed: Settings, path: str) -> None:
    assert status(keyed, path, bearer(ADMIN), client=ELSEWHERE, method="DELETE") == 200
    assert status(keyed, path, bearer(KEY), method="DELETE") == 401
    assert status(keyed, path, method="DELETE") == 401
    assert status(keyed, path, bearer(KEY), method="GET") == 200
    assert status(keyed, path, bearer(ADMIN), method="GET") == 401


@pytest.mark.parametrize(("method", "path"), [("POST", "/admin/reload"), ("GET", "/admin"), ("DELETE", "/users/42")])
@pytest.mark.parametrize("client", [HERE, ("::1", 5), ELSEWHERE, None])
def test_no_address_makes_up_for_an_admin_key(
    keyed: Settings, keyless: Settings, method: str, path: str, client: Any
) -> None:
    without_admin_keys = keyed.model_copy(update={"admin_keys_file": None})
    for settings in (keyless, keyless.model_copy(update={"anonymous": "allowed"}), keyed, without_admin_keys):
        for headers in ([], [bearer(KEY)], [bearer("x" * 32)], [bearer("")]):
            assert status(settings, path, *headers, client=client, method=method) == 401


def test_without_admin_keys_the_token_is_the_one_admin_key(keyed: Settings, keyless: Settings) -> None:
    digest = digest_of(ADMIN.encode())
    for settings in (keyless, keyed.model_copy(update={"admin_keys_file": None})):
        assert status(settings, "/admin/reload", bearer(ADMIN), admin_token=digest) == 200
        assert status(settings, "/admin/reload", ("X-API-Key", ADMIN), client=ELSEWHERE, admin_token=digest) == 200
        for headers in ([], [bearer(KEY)], [bearer(digest.hex())], [bearer(ADMIN), bearer(ADMIN)]):
            assert status(settings, "/admin/reload", *headers, admin_token=digest) == 401
    assert status(keyed, "/admin/reload", bearer("t" * 32), admin_token=digest_of(b"t" * 32)) == 401  # the file counts


def test_a_key_of_both_files_is_none_of_an_admin(keyed: Settings) -> None:
    both = keyed.model_copy(update={"admin_keys_file": keyed.api_keys_file})
    assert status(both, "/admin/reload", bearer(KEY)) == 401


def test_an_admin_is_told_which_key_and_no_path(keyless: Settings) -> None:
    _, body = call(keyless, "/admin/reload")
    detail = json.loads(body["body"])["detail"]
    assert "DINRANK_ADMIN_KEYS_FILE" in detail
    assert "the service's log names" in detail
    assert "/" not in detail


def test_without_keys_everybody_on_this_machine_is_let_in(keyless: Settings) -> None:
    assert all(status(keyless, path) == 200 for path in [*OPEN, *CLOSED])


ODD_PATHS = [
    *("/rank%0a", "/rank%0d%0a", "/metrics%00", "/livez%1f", "/metrics%7f", "/metrics%c2%85", "/metrics%e2%80%a8"),
    *("/%72ank", "/metric%73", "/%61dmin/reload", "/admin%2freload", "/rank%2f", "/%2e/metrics", "/rank%20", "/%"),
    *("/users%2f42", "/user%73/42", "/users/%0a", "/users/a%00b", "/users/%c2%80", "/users/%e2%80%a9", "/users/%ff"),
    *("/users/%c3", "/users/%zz", "/users/%4", "/users/%", "/docs/parts/%2e%2e/x", "/rank\n", "/rank\t", "/rank\x7f"),
]


@pytest.mark.parametrize("path", ODD_PATHS)
def test_an_odd_path_is_none_whoever_asks(keyed: Settings, keyless: Settings, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        assert status(keyed, path, bearer(ADMIN), method=method) == 404
        assert status(keyless, path, method=method) == 404


@pytest.mark.parametrize("path", ["/users/a%2Fb", "/users/Zo%C3%AB", "/users/%252F", "/users/..%2fadmin%2freload"])
def test_an_id_may_be_percent_encoded(keyed: Settings, path: str) -> None:
    assert status(keyed, path, bearer(KEY), method="GET") == 200
    assert status(keyed, path, bearer(KEY), method="DELETE") == 401


def test_attempts_are_counted_by_problem(keyed: Settings) -> None:
    telemetry = Telemetry()
    check = KeyCheck(inside, settings=keyed, telemetry=telemetry, admin_token=None)

    async def ignore(message: Message) -> None:
        pass

    async def nothing() -> Message:
        raise AssertionError

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/metrics",
        "raw_path": b"/metrics",
        "headers": [],
        "client": HERE,
        "state": {"request_id": "r1"},
    }
    for _ in range(3):
        asyncio.run(check(scope, nothing, ignore))
    assert 'dinrank_turned_away_total{problem="unauthorised"} 3.0' in telemetry.exposition().decode()
