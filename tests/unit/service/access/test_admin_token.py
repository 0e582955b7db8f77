"""The token that admin routes take where no file of keys is set."""

import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from dinrank.service.access.admin_token import (
    TOKEN_DIGEST_VARIABLE,
    BadTokenFile,
    admin_token,
    default_token_dir,
    token_digest_from_environment,
    token_path,
)
from dinrank.service.access.keys import digest_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return token_path(tmp_path / "run" / "dinrank", "127.0.0.1", 8000)


def test_the_token_is_there_as_long_as_the_block_runs_and_for_this_account_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        with admin_token(path):
            token = path.read_text().strip()
            assert len(token) == 64
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert token_digest_from_environment() == digest_of(token.encode())
            assert token not in os.environ.values()
            assert list(path.parent.iterdir()) == [path]
    finally:
        os.umask(before)
    assert list(path.parent.iterdir()) == []
    assert TOKEN_DIGEST_VARIABLE not in os.environ


@pytest.mark.parametrize("left", ["x" * 64, "", "half"])
def test_what_an_earlier_run_left_is_replaced(path: Path, left: str) -> None:
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_text(left)
    path.chmod(0o644)
    with path.open() as reader, admin_token(path):
        assert reader.read() == left  # who had it open does not see the new one
        assert path.read_text().strip() not in (left, "")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_token_of_a_service_that_runs_is_not_replaced(path: Path) -> None:
    with admin_token(path):
        token = path.read_text()
        with pytest.raises(BadTokenFile, match="of another service that runs"), admin_token(path):
            pass
        assert path.read_text() == token
        with admin_token(path.with_name("admin-token-127.0.0.1-8001")):
            assert path.read_text() == token
    assert not path.exists()


def _hold(path: Path, ready: "multiprocessing.Queue[str]", over: "multiprocessing.synchronize.Event") -> None:
    try:
        with admin_token(path):
            ready.put(path.read_text())
            over.wait(30)
    except BadTokenFile:
        ready.put("")


def test_of_many_that_start_at_once_one_has_the_token(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready: multiprocessing.Queue[str] = context.Queue()
    over = context.Event()
    starting = [context.Process(target=_hold, args=[path, ready, over]) for _ in range(8)]
    for each in starting:
        each.start()
    tokens = [ready.get(timeout=30) for _ in starting]
    assert [token for token in tokens if token] == [path.read_text()]
    over.set()
    for each in starting:
        each.join()
    assert not path.exists()


def test_a_place_that_others_can_write_to_is_refused(path: Path) -> None:
    path.parent.mkdir(parents=True)
    for mode in (0o770, 0o707, 0o1777):
        path.parent.chmod(mode)
        with pytest.raises(BadTokenFile, match="as other accounts can write to it"), admin_token(path):
            pass
        assert list(path.parent.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_directory_of_another_account_is_refused(path: Path) -> None:
    path.parent.mkdir(parents=True)
    os.chown(path.parent, 12_345, -1)
    with pytest.raises(BadTokenFile, match="as other accounts can write to it"), admin_token(path):
        pass


def test_a_link_in_the_place_of_the_token_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(parents=True, mode=0o700)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadTokenFile, match="cannot be written"), admin_token(path):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_where_no_directory_can_be_made_the_message_has_both_ways_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    both = pytest.raises(BadTokenFile, match=r"DINRANK_ADMIN_TOKEN_DIR .* DINRANK_ADMIN_KEYS_FILE")
    with both, admin_token(tmp_path / "file" / "token"):
        pass


def another_account_s(home: Path) -> Path:
    directory = home / "other"
    directory.mkdir()
    os.chown(directory, 12_345, -1)
    return directory


def test_the_default_is_a_directory_of_the_account_s_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert default_token_dir() == tmp_path / "dinrank"
    others = "/root" if os.getuid() else str(another_account_s(tmp_path))
    for nowhere in ("", "relative", str(tmp_path / "none"), others):
        monkeypatch.setenv("XDG_RUNTIME_DIR", nowhere)
        assert default_token_dir().name == f"dinrank-{os.getuid()}"
