"""Files of keys, and who is let in by them."""

import hmac
from pathlib import Path

import pytest

from service.keys import BadKeyFile, KeyRing, read_digests

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
        monkeypatch.setattr("service.keys.time.monotonic", lambda: self.now_s)


def test_keys_are_replaced_while_the_service_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    ring = KeyRing(key_file(tmp_path, OLD))
    (tmp_path / "next").write_text(NEW)
    (tmp_path / "next").replace(tmp_path / "keys")  # as mounted secrets change: another file in its place
    clock.now_s += 2
    assert ring.admits(NEW.encode())
    assert not ring.admits(OLD.encode())


@pytest.mark.parametrize("text", ["", "short"])
def test_a_change_for_the_worse_leaves_the_keys_in_force_and_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    clock = Clock(monkeypatch)
    ring = KeyRing(key_file(tmp_path, OLD))
    key_file(tmp_path, text)
    for _ in range(3):
        clock.now_s += 2
        assert ring.admits(OLD.encode())
    assert [line.partition(" ")[0] for line in caplog.messages] == ["keys_kept"]
    key_file(tmp_path, f"{NEW}\n")
    clock.now_s += 2
    assert ring.admits(NEW.encode())
