"""Files of keys, and who is let in by them."""

import hmac
import os
import time
from pathlib import Path

import pytest

from dinrank.service.access.keys import (
    BadKeyFile,
    KeyRing,
    OneKey,
    digest_of,
    read_digests,
    wait_until_settled,
    warn_of_writers,
    writable_by_others,
)

OLD, NEW = "old-" + "a" * 28, "new-" + "b" * 28


def key_file(directory: Path, text: str | bytes) -> Path:
    path = directory / "keys"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_each_of_several_keys_is_admitted_and_nothing_else(tmp_path: Path) -> None:
    ring = KeyRing(key_file(tmp_path, f"# of the web shop, since May\n{OLD}\n\n  {NEW}  \n"))
    assert ring.admits(OLD.encode())
    assert ring.admits(NEW.encode())
    for other in ("", OLD[:-1], OLD + "a", OLD.upper(), "# of the web shop, since May", f"{OLD}\n{NEW}"):
        assert not ring.admits(other.encode())
    assert not ring.admits(b"\xff" * 32)


def test_every_key_is_compared_with_all_keys_at_one_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def noted(known: bytes, sent: bytes) -> bool:
        compared.append((known, sent))
        return known == sent

    monkeypatch.setattr(hmac, "compare_digest", noted)
    ring = KeyRing(key_file(tmp_path, f"{OLD}\n{NEW}\n"))
    for sent in (OLD, NEW, "x", "x" * 10_000):
        compared.clear()
        ring.admits(sent.encode())
        assert len(compared) == 2  # no early end
        assert {len(digest) for pair in compared for digest in pair} == {32}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no key"),
        ("# only a comment\n", "holds no key"),
        (f"{OLD}\nshort-secret\n", "line 2: a key is one word of at least 16 ASCII characters"),
        ("two words of a secret", "line 1: a key is one word"),
        ("secret-" + "x" * 20 + "\x07", "line 1: a key is one word"),
        (b"secret-\xc3\xa4" + b"x" * 20, "byte 7 is none"),
    ],
)
def test_a_bad_file_is_refused_and_no_key_repeated(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(BadKeyFile, match="keys") as caught:
        read_digests(key_file(tmp_path, text))
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadKeyFile, match="keys cannot be read: No such file"):
        read_digests(tmp_path / "keys")


class Clock:
    """What the ring takes for the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1_000.0
        monkeypatch.setattr("dinrank.service.access.keys.time.monotonic", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def written_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the present were an hour later: nobody can set the time at which a file was written to."""
    now_s = time.time() + 3_600
    monkeypatch.setattr("dinrank.service.access.keys.time.time", lambda: now_s)


def test_keys_are_replaced_while_the_service_runs(tmp_path: Path, clock: Clock) -> None:
    ring = KeyRing(key_file(tmp_path, OLD))
    (tmp_path / "next").write_text(NEW)
    (tmp_path / "next").replace(tmp_path / "keys")  # as mounted secrets change: another file in its place
    for is_new in (False, True):  # two looks have to see the same
        clock.now_s += 1
        assert ring.admits(NEW.encode()) is is_new
        assert ring.admits(OLD.encode()) is not is_new


def test_a_file_that_was_written_long_ago_counts_at_the_first_look(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that was taken away opens nothing, however long nobody asked."""
    ring = KeyRing(key_file(tmp_path, OLD))
    key_file(tmp_path, NEW)
    written_long_ago(monkeypatch)
    clock.now_s += 3_600
    assert not ring.admits(OLD.encode())
    assert ring.admits(NEW.encode())


def test_a_change_is_seen_that_leaves_size_and_date_as_they_were(tmp_path: Path, clock: Clock) -> None:
    path = key_file(tmp_path, OLD)
    before = path.stat()
    ring = KeyRing(path)
    with path.open("r+b") as file:
        file.write(NEW.encode())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    for _ in range(2):
        clock.now_s += 1
        ring.admits(NEW.encode())
    assert ring.admits(NEW.encode())
    assert not ring.admits(OLD.encode())


@pytest.mark.parametrize("before", [OLD, f"{OLD}\n{NEW}\n"])
def test_a_file_that_is_being_written_shuts_nobody_out_and_lets_nobody_in(
    tmp_path: Path, clock: Clock, before: str
) -> None:
    """Byte after byte, and somebody looks after each."""
    ring = KeyRing(key_file(tmp_path, before))
    written, third = b"", "third-" + "c" * 26
    for byte in f"{third}\n{OLD}\n".encode():
        written += bytes([byte])
        key_file(tmp_path, written)
        clock.now_s += 1
        assert ring.admits(OLD.encode())
        for length in range(16, len(third)):
            assert not ring.admits(third[:length].encode())
    clock.now_s += 1
    assert ring.admits(third.encode())
    assert ring.admits(OLD.encode())


def test_a_file_that_was_cut_off_for_good_leaves_the_keys_in_force(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By a full disk for instance: what is left of a key opens nothing, though it is as long as a key may be."""
    ring = KeyRing(key_file(tmp_path, f"{OLD}\n{NEW}\n"))
    written_long_ago(monkeypatch)
    for length in range(len(OLD) + len(NEW), 0, -1):
        key_file(tmp_path, f"{OLD}\n{NEW}\n"[:length])
        clock.now_s += 1
        assert ring.admits(OLD.encode())
        for stump in (OLD, NEW):
            assert not any(ring.admits(stump[:cut].encode()) for cut in range(16, len(stump)))
    assert "seems to be cut off" in caplog.text
    assert OLD[:8] not in caplog.text


@pytest.mark.parametrize("text", ["", "short", None])
def test_a_change_for_the_worse_leaves_the_keys_in_force_and_is_logged_once(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    ring = KeyRing(key_file(tmp_path, OLD))
    if text is None:
        (tmp_path / "keys").unlink()
    else:
        key_file(tmp_path, text)
    for _ in range(4):
        clock.now_s += 2
        assert ring.admits(OLD.encode())
    assert [line.partition(" ")[0] for line in caplog.messages] == ["keys_kept"]
    key_file(tmp_path, f"{NEW}\n")
    for _ in range(2):
        clock.now_s += 2
        ring.admits(NEW.encode())
    assert ring.admits(NEW.encode())


def test_others_who_could_write_keys_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = tmp_path / "etc"
    directory.mkdir(mode=0o700)
    path = key_file(directory, OLD)
    for mode, of_directory, found in [
        (0o600, 0o700, []),
        (0o644, 0o755, []),
        (0o620, 0o700, [path]),
        (0o602, 0o700, [path]),
        (0o600, 0o770, [directory]),
        (0o600, 0o777, [directory]),
        (0o600, 0o1777, []),  # as /tmp: nobody replaces a file of another account there
        (0o666, 0o777, [path, directory]),
    ]:
        path.chmod(mode)
        directory.chmod(of_directory)
        assert writable_by_others(path) == found
    warn_of_writers(path)
    assert [line.partition(" ")[0] for line in caplog.messages] == ["key_file_writable"] * 2
    assert f"chmod go-w {directory}" in caplog.text


def test_where_a_link_leads_is_looked_at_too(tmp_path: Path) -> None:
    for name in ("etc", "secret"):
        (tmp_path / name).mkdir(mode=0o700)
    link = tmp_path / "etc" / "keys"
    link.symlink_to(key_file(tmp_path / "secret", OLD))
    link.chmod(0o600)
    assert writable_by_others(link) == []
    (tmp_path / "secret").chmod(0o777)
    assert writable_by_others(link) == [tmp_path / "secret"]


def test_without_a_digest_nobody_has_the_one_key() -> None:
    assert not any(OneKey(None).admits(key) for key in (b"", b"None", OLD.encode()))
    assert OneKey(digest_of(OLD.encode())).admits(OLD.encode())
    assert not OneKey(digest_of(OLD.encode())).admits(NEW.encode())


def test_a_file_that_was_written_just_now_is_waited_for(tmp_path: Path) -> None:
    path = key_file(tmp_path, OLD)
    wait_until_settled(path)
    assert time.time() - path.stat().st_ctime >= 1
    wait_until_settled(tmp_path / "none")
