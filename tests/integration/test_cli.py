"""The commands as an operator runs them: real processes, real sockets, an embedded Redis, signals."""

import http.client
import json
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from typer.testing import CliRunner

from dinrank.service.cli import app
from dinrank.service.store.url import parse_redis_url
from tests.fixtures.bundle import expected_ctr
from tests.fixtures.command import ONE_AD, TIMEOUT_S, assert_gone, run, served
from tests.fixtures.log_settings import log_settings_kept
from tests.fixtures.redis_server import RedisServer, wait_until


def write_dataset(directory: Path) -> Path:
    """User 42 clicked on 3 and then on 2; the item 900 is newer than the bundle."""
    directory.mkdir()
    pl.DataFrame(
        {
            "user_id": ["42", "42", "42"],
            "item_id": ["2", "3", "1"],
            "clicked": [True, True, False],
            "timestamp": [200, 100, 50],
        }
    ).write_parquet(directory / "impressions.parquet")
    pl.DataFrame({"item_id": ["900"], "genre": [["Horror"]], "price": [25.0]}).write_parquet(
        directory / "items.parquet"
    )
    pl.DataFrame({"user_id": ["42"], "gender": ["f"], "age": [51], "interests": [["sport"]]}).write_parquet(
        directory / "users.parquet"
    )
    return directory


def test_two_workers_serve_what_was_published_and_leave_nothing_running(bundle_path: Path, tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    bundle = ("--bundle", str(bundle_path))
    published = run(tmp_path, "publish", *bundle, "--data", str(data), "--redis", "embedded")
    assert published.returncode == 0, published.stderr
    assert "wrote 1 users with 2 behaviours and 1 ads" in published.stdout
    num_requests = 20
    with served(tmp_path, bundle_path, "--redis", "embedded", "--workers", "2") as service:
        body = ONE_AD | {"candidates": [{"ad_id": "1", "bid": 1.0}, {"ad_id": "900", "bid": 1.0}]}
        for _ in range(num_requests):  # each on a connection of its own, so that either worker may get it
            response = httpx.post(f"{service.address}/rank", json=body, timeout=30)
            assert response.status_code == 200, response.text
        profile = {"gender": "f", "age": 51, "interests": ["sport"]}
        attributes = {"genre": ["Horror"], "price": 25}
        assert {ad["ad_id"]: ad["ctr"] for ad in response.json()["ads"]} == pytest.approx(
            {
                "1": expected_ctr("1", ["3", "2"], profile=profile),
                "900": expected_ctr("900", ["3", "2"], profile=profile, attributes=attributes),
            },
            abs=1e-6,
        )
        counted = f'dinrank_requests_total{{outcome="ok"}} {num_requests:.1f}\n'
        # Any worker answers for both, and knows of the other what that has counted by itself.
        wait_until(
            lambda: counted in httpx.get(f"{service.address}/metrics", timeout=30).text, "both workers have counted"
        )
        commands = [" ".join(each.cmdline()) for each in service.family()]
        family = service.stop(signal.SIGTERM)
        assert service.process.returncode == 0
        assert len([each for each in commands if "redis-server" in each]) == 1
        assert_gone(family)
        assert "Traceback" not in service.output.read_text()
    assert [path.name for path in (tmp_path / "tmp").rglob("*")] == ["dinrank"]  # where the next token will be


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_single_worker_and_its_redis(bundle_path: Path, tmp_path: Path, number: int) -> None:
    with served(tmp_path, bundle_path) as service:  # embedded is the default
        family = service.stop(number)
        assert len(family) > 1
        assert service.process.returncode == 0
        assert_gone(family)
        assert "Traceback" not in service.output.read_text()


def test_the_printed_request_works_as_it_stands(bundle_path: Path, tmp_path: Path, redis_url: str) -> None:
    with served(tmp_path, bundle_path, "--redis", redis_url) as service:
        [line] = [line for line in service.output.read_text().splitlines() if "curl" in line]
        said = re.search(r"-d '(.*)'$", line)
        assert said
        response = httpx.post(f"{service.address}/rank", json=json.loads(said[1]), timeout=30)
        assert response.status_code == 200
        assert f"{service.address}/rank" in line


def test_a_body_is_limited_while_it_arrives(bundle_path: Path, tmp_path: Path, redis_url: str) -> None:
    with served(tmp_path, bundle_path, "--redis", redis_url, DINRANK_MAX_BODY_BYTES="1000") as service:
        host, port = service.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as client:
            # A body without length that never ends: the answer must not wait for its end.
            client.sendall(b"POST /rank HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            client.sendall(b"3e9\r\n" + b" " * 1001 + b"\r\n")
            response = http.client.HTTPResponse(client)
            response.begin()
            document = json.loads(response.read())
            response.close()
        assert (response.status, document["detail"]) == (413, "the body is larger than 1000 bytes")
        # An announced length is refused before the body is sent.
        with socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as client:
            client.sendall(b"POST /rank HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n")
            response = http.client.HTTPResponse(client)
            response.begin()
            response.close()
        assert response.status == 413
        assert httpx.post(f"{service.address}/rank", json=ONE_AD, timeout=30).status_code == 200


@pytest.mark.parametrize("file", ["model.onnx", "schema.json", "manifest.json"])
def test_a_bad_bundle_ends_serve_with_one_line(bundle_path: Path, tmp_path: Path, file: str) -> None:
    broken = tmp_path / "broken"
    for path in bundle_path.rglob("*"):
        if path.is_file():
            copy = broken / path.relative_to(bundle_path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    (broken / file).write_bytes((broken / file).read_bytes()[:-5] + b"12345")
    ended = run(tmp_path, "serve", "--bundle", str(broken), "--workers", "2")
    assert ended.returncode == 1
    assert ended.stdout == ""
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"error: {file}: expected ")


def invoke(*arguments: str, **settings: str) -> Any:
    cleared = {name: None for name in os.environ if name.startswith("DINRANK_")}
    with log_settings_kept():
        return CliRunner().invoke(app, list(arguments), env={**cleared, **settings})


def test_a_missing_bundle_is_named_as_a_setting() -> None:
    ended = invoke("serve")
    assert ended.exit_code == 1
    assert ended.stderr == "error: give --bundle, or set DINRANK_BUNDLE\n"


def test_a_bundle_that_is_not_there_is_named_with_what_makes_one(tmp_path: Path) -> None:
    ended = invoke("serve", "--bundle", str(tmp_path / "nope"))
    assert ended.exit_code == 1
    assert "nope/manifest.json: expected a file, found no file: name the directory that" in ended.stderr


def test_a_wrong_setting_is_named(bundle_path: Path) -> None:
    ended = invoke("serve", "--bundle", str(bundle_path), DINRANK_REDIS_TIMEOUT_MS="soon")
    assert ended.exit_code == 1
    assert ended.stderr.startswith("error: DINRANK_REDIS_TIMEOUT_MS or its flag: Input should be a valid integer")


def test_a_flag_overrides_the_environment(tmp_path: Path) -> None:
    ended = invoke("serve", "--bundle", str(tmp_path / "flag"), DINRANK_BUNDLE=str(tmp_path / "variable"))
    assert "flag/manifest.json" in ended.stderr


def test_a_taken_port_is_named(bundle_path: Path, redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = invoke("serve", "--bundle", str(bundle_path), "--redis", redis_url, "--port", str(port))
    assert ended.exit_code == 1
    cannot = f"cannot listen on 127.0.0.1 port {port}: Address already in use"
    assert ended.stderr == f"error: {cannot}; --port takes another, 0 a free one\n"


@pytest.mark.parametrize("command", ["serve", "publish"])
def test_an_url_that_names_no_redis_is_refused_without_its_password(
    bundle_path: Path, tmp_path: Path, command: str
) -> None:
    data = ["--data", str(tmp_path)] if command == "publish" else []
    ended = invoke(command, "--bundle", str(bundle_path), *data, "--redis", "http://:secret@127.0.0.1")
    assert ended.exit_code == 1
    assert ended.stderr.startswith("error: ")
    assert "redis://" in ended.stderr
    assert "secret" not in ended.output


def test_a_dataset_that_cannot_be_read_ends_publish_with_its_file(
    bundle_path: Path, tmp_path: Path, redis_url: str
) -> None:
    ended = invoke("publish", "--bundle", str(bundle_path), "--data", str(tmp_path), "--redis", redis_url)
    assert ended.exit_code == 1
    assert ended.stderr.startswith(f"error: {tmp_path}")


def _said(served_output: Path) -> str:
    return served_output.read_text(encoding="utf-8")


def _suggested_user(said: str) -> str:
    [body] = re.findall(r"-d '(.*)'$", said, re.MULTILINE)
    user_id: str = json.loads(body)["user_id"]
    return user_id


def test_serve_suggests_a_request_for_somebody_who_is_there(
    bundle_path: Path, redis_url: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.client.lpush("{u:Ana Ö}:behaviours", b'{"item_id": "2", "timestamp": 5}')
    with served(tmp_path, bundle_path, "--redis", redis_url) as service:
        said = _said(service.output)
        assert _suggested_user(said) == "Ana Ö"
        assert "warning" not in said
        [body] = re.findall(r"-d '(.*)'$", said, re.MULTILINE)
        answer = httpx.post(f"{service.address}/rank", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 200
        assert answer.json()["behaviours"] == 1


def test_serve_says_that_nobody_is_stored(bundle_path: Path, redis_url: str, tmp_path: Path) -> None:
    with served(tmp_path, bundle_path, "--redis", redis_url) as service:
        assert "warning: no user has behaviours in Redis; until that changes all users are" in _said(service.output)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_serve_starts_without_redis_and_says_so(bundle_path: Path, tmp_path: Path, log_format: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{nobody.getsockname()[1]}"
        url = f"redis://:secret@{where}"
        with served(tmp_path, bundle_path, "--redis", url, DINRANK_LOG_FORMAT=log_format) as service:
            said = _said(service.output)
            assert httpx.post(f"{service.address}/rank", json=ONE_AD).json()["degraded"] != []
    [warning] = [line for line in said.splitlines() if "ranked as new ones" in line]
    assert f"Redis at {where}: " in warning
    assert "secret" not in said
    assert log_format == "json" or warning.endswith("a firewall between the two looks the same")


def test_publish_says_where_to_whom_else_and_what_comes_next(
    bundle_path: Path, redis_url: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.client.lpush("{u:of another shop}:behaviours", b'{"item_id": "2", "timestamp": 5}')
    data = write_dataset(tmp_path / "data")
    done = invoke("publish", "--bundle", str(bundle_path), "--data", str(data), "--redis", redis_url)
    assert done.exit_code == 0, done.output
    assert f"to {parse_redis_url(redis_url).place()}" in done.stdout
    assert "behaviours of at least 1 users who are not of this dataset" in done.stdout
    assert done.stdout.endswith(f"Next, with the same Redis: python -m service serve --bundle {bundle_path}\n")


@pytest.mark.parametrize(
    ("rights", "warns"), [("+ping +lrange +hgetall", False), ("+ping +scan +lrange +hgetall", False), ("", True)]
)
def test_serve_warns_of_a_login_that_is_wrong_and_not_of_one_that_may_not_list_users(
    rights: str, warns: bool, bundle_path: Path, redis_url: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.client.lpush("{u:7}:behaviours", b'{"item_id": "2", "timestamp": 5}')
    rule = f"on >secret resetkeys -@all ~* {rights}".split()
    redis_server.client.execute_command("ACL", "SETUSER", "tester", *rule)
    password = "another" if warns else "secret"
    url = f"redis://tester:{password}@127.0.0.1:{redis_server.port}"
    try:
        with served(tmp_path, bundle_path, "--redis", url) as service:
            said = _said(service.output)
    finally:
        redis_server.client.execute_command("ACL", "DELUSER", "tester")
    assert ("warning: Redis at 127.0.0.1" in said) is warns
    assert ("mend user and password" in said) is warns
    assert _suggested_user(said) == ("7" if "+scan" in rights else "1")


@pytest.mark.parametrize("command", ["serve", "publish"])
def test_help_ends_with_an_example(command: str) -> None:
    shown = invoke(command, "--help", COLUMNS="300")
    assert shown.exit_code == 0
    assert f"Example: python -m service {command} --bundle" in shown.output
