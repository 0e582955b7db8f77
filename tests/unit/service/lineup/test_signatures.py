"""Whose bundles are opened: real keys, and everything that an attacker can write into a bundle's directory."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dinrank.model.bundle.errors import BundleError, SignatureMismatch
from dinrank.model.bundle.files import SIGNATURE_FILE
from dinrank.model.bundle.manifest import MANIFEST_FILE
from dinrank.model.bundle.reader import open_bundle
from dinrank.service.commands.remedies import remedy_for
from dinrank.service.lineup.signatures import TrustedKeys
from dinrank.training.errors import SigningError
from dinrank.training.export.signing import read_signing_key, sign_bundle
from tests.fixtures.bundle import declare_as_genuine as with_checksum_of
from tests.fixtures.bundle import make_bundle
from tests.fixtures.signing import KeyPair, make_key_pair


@pytest.fixture
def signed(tmp_path: Path, bundle_path: Path, own_keys: KeyPair) -> Path:
    """A signed bundle of one's own, to be changed."""
    return own_keys.sign(Path(shutil.copytree(bundle_path, tmp_path / "signed")))


def refusal(bundle: Path, keys: Path) -> str:
    with pytest.raises(SignatureMismatch) as caught:
        open_bundle(bundle, signatures=TrustedKeys(keys))
    assert "SECURITY.md" in remedy_for(caught.value)
    return str(caught.value)


def test_a_signed_bundle_is_opened_with_keys_and_without(signed: Path, own_keys: KeyPair, bundle_path: Path) -> None:
    version = open_bundle(bundle_path).manifest.model_version
    for keys in (TrustedKeys(own_keys.public), None):
        assert open_bundle(signed, signatures=keys).manifest.model_version == version


def test_an_unsigned_bundle_is_refused_where_keys_are_set(bundle_path: Path, own_keys: KeyPair) -> None:
    expected = "a signature by one of the 1 keys of DINRANK_BUNDLE_KEYS"
    assert refusal(bundle_path, own_keys.public) == f"manifest.sig: expected {expected}, found no signature"


def test_a_bundle_that_somebody_else_signed_is_refused(signed: Path, own_keys: KeyPair, foreign_keys: KeyPair) -> None:
    foreign_keys.sign(signed)
    assert "found one that none of them made" in refusal(signed, own_keys.public)


def _other_graph(bundle: Path) -> None:
    """Whoever changes a file brings its checksum and the manifest's up to date."""
    (bundle / "model.onnx").write_bytes(b"code of somebody else")
    with_checksum_of(bundle, "model.onnx")


def _other_spelling(bundle: Path) -> None:
    """The same content in other bytes."""
    manifest = bundle / MANIFEST_FILE
    manifest.write_text(json.dumps(json.loads(manifest.read_text())))


def _one_more_byte(bundle: Path) -> None:
    with (bundle / MANIFEST_FILE).open("ab") as file:
        file.write(b"\n")


def _no_json(bundle: Path) -> None:
    """Were it parsed first, the refusal would be another."""
    (bundle / MANIFEST_FILE).write_bytes(b"[" * 100_000)


def _signature(content: bytes) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        (bundle / SIGNATURE_FILE).write_bytes(content)

    return change


def _cut_signature(bundle: Path) -> None:
    os.truncate(bundle / SIGNATURE_FILE, 63)


def _longer_signature(bundle: Path) -> None:
    with (bundle / SIGNATURE_FILE).open("ab") as file:
        file.write(b"\0")


def _pipe(bundle: Path) -> None:
    """To open it would wait for ever."""
    (bundle / SIGNATURE_FILE).unlink()
    os.mkfifo(bundle / SIGNATURE_FILE)


def _directory(bundle: Path) -> None:
    (bundle / SIGNATURE_FILE).unlink()
    (bundle / SIGNATURE_FILE).mkdir()


@pytest.mark.parametrize(
    "change",
    [
        _other_graph,
        _other_spelling,
        _one_more_byte,
        _no_json,
        _signature(b""),
        _signature(bytes(64)),
        _signature(b"x" * 10_000),
        _cut_signature,
        _longer_signature,
        _pipe,
        _directory,
    ],
)
def test_whatever_is_changed_after_the_signing_is_refused(
    signed: Path, own_keys: KeyPair, change: Callable[[Path], None]
) -> None:
    change(signed)
    assert refusal(signed, own_keys.public).startswith("manifest.sig: expected a signature by one of the 1 keys")


def test_a_signature_of_another_bundle_is_refused(signed: Path, own_keys: KeyPair, tmp_path: Path) -> None:
    other = make_bundle(tmp_path / "other", shift=1.0)
    shutil.copyfile(signed / SIGNATURE_FILE, other / SIGNATURE_FILE)
    assert "found one that none of them made" in refusal(other, own_keys.public)


def test_a_changed_file_under_a_signed_manifest_is_refused_by_its_checksum(signed: Path, own_keys: KeyPair) -> None:
    (signed / "model.onnx").write_bytes(b"code of somebody else")
    with pytest.raises(BundleError, match=r"^model.onnx: expected sha256"):
        open_bundle(signed, signatures=TrustedKeys(own_keys.public))


def test_the_bytes_that_were_verified_are_the_ones_that_are_parsed(signed: Path, own_keys: KeyPair) -> None:
    """A manifest that is exchanged between the two changes nothing."""

    class Exchanging:
        def check(self, manifest: bytes, signature: bytes | None) -> None:
            TrustedKeys(own_keys.public).check(manifest, signature)
            (signed / MANIFEST_FILE).write_bytes(b"{}")

    assert open_bundle(signed, signatures=Exchanging()).manifest.model_name == "formula"


def test_no_other_file_goes_unlisted(signed: Path, own_keys: KeyPair) -> None:
    (signed / "items" / SIGNATURE_FILE).write_bytes(b"")
    with pytest.raises(BundleError, match="an entry for items/manifest.sig, found none"):
        open_bundle(signed, signatures=TrustedKeys(own_keys.public))


def test_keys_are_exchanged_without_a_restart(
    signed: Path, own_keys: KeyPair, foreign_keys: KeyPair, tmp_path: Path
) -> None:
    """A directory as it is mounted, and one file with several keys."""
    keys, file = tmp_path / "keys", tmp_path / "both.pem"
    keys.mkdir()
    shutil.copyfile(foreign_keys.public, keys / "next.pem")
    (keys / "README").write_text("not a key")
    trusted = TrustedKeys(keys)
    with pytest.raises(SignatureMismatch):
        open_bundle(signed, signatures=trusted)
    shutil.copyfile(own_keys.public, keys / "own.pem")
    assert open_bundle(signed, signatures=trusted)
    file.write_bytes(foreign_keys.public.read_bytes() + b"# and ours\n" + own_keys.public.read_bytes())
    assert open_bundle(signed, signatures=TrustedKeys(file))
    (keys / "own.pem").unlink()
    with pytest.raises(SignatureMismatch):
        open_bundle(signed, signatures=trusted)


def test_keys_that_are_none_trust_nobody(signed: Path, own_keys: KeyPair, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.pem").write_text("hello")
    shutil.copyfile(own_keys.private, tmp_path / "private.pem")
    both = own_keys.public.read_bytes() + own_keys.private.read_bytes()
    (tmp_path / "both.pem").write_bytes(both)
    (tmp_path / "broken.pem").write_bytes(own_keys.public.read_bytes().replace(b"MC", b"M!"))
    other = make_key_pair(tmp_path / "other", algorithm="x25519")
    for keys, found in (
        (tmp_path / "empty", "found a directory without *.pem"),
        (tmp_path / "none.pem", "found No such file or directory"),
        (tmp_path / "text.pem", "found text.pem with something else"),
        (tmp_path / "private.pem", "found private.pem with something else"),
        (tmp_path / "both.pem", "found both.pem with something else"),
        (tmp_path / "broken.pem", "found broken.pem: "),
        (other.public, "found another kind of key in bundle-key.pub.pem"),
    ):
        message = refusal(signed, keys)
        assert message.startswith("DINRANK_BUNDLE_KEYS: expected PEM files of Ed25519 public keys, "), keys
        assert found in message
        assert str(tmp_path) not in message  # callers may read it


def test_without_cryptography_nothing_is_trusted(signed: Path, own_keys: KeyPair) -> None:
    program = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from pathlib import Path; from dinrank.service.lineup.signatures import TrustedKeys\n"
        "from dinrank.model.bundle.reader import open_bundle\n"
        "open_bundle(Path(sys.argv[1]), signatures=TrustedKeys(Path(sys.argv[2])))"
    )
    command = [sys.executable, "-c", program, str(signed), str(own_keys.public)]
    answer = subprocess.run(command, cwd=Path(__file__).parents[4], capture_output=True, text=True, check=False)
    assert answer.stderr.splitlines()[-1].endswith(
        "DINRANK_BUNDLE_KEYS: expected the package cryptography, found none: pip install 'dinrank[signing]'"
    )


def test_openssl_alone_verifies_a_signature(signed: Path, own_keys: KeyPair) -> None:
    verify = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(own_keys.public), "-rawin"]
    files = ["-in", str(signed / MANIFEST_FILE), "-sigfile", str(signed / SIGNATURE_FILE)]
    assert subprocess.run([*verify, *files], check=False, capture_output=True).returncode == 0


def test_only_whole_bundles_are_signed_and_a_refused_one_keeps_what_it_had(signed: Path, own_keys: KeyPair) -> None:
    before = (signed / SIGNATURE_FILE).read_bytes()
    (signed / "golden.json").unlink()
    with pytest.raises(BundleError, match=r"golden.json"):
        own_keys.sign(signed)
    assert (signed / SIGNATURE_FILE).read_bytes() == before
    assert [path.name for path in signed.parent.iterdir()] == ["signed"]


def test_a_bundle_is_signed_through_a_link(signed: Path, own_keys: KeyPair, foreign_keys: KeyPair) -> None:
    foreign_keys.sign(signed)
    link = signed.with_name("current")
    link.symlink_to(signed)
    sign_bundle(link, read_signing_key(own_keys.private))
    assert open_bundle(link, signatures=TrustedKeys(own_keys.public))
    assert (signed / SIGNATURE_FILE).stat().st_mode & 0o777 == 0o644


def test_what_cannot_sign_says_how_to_make_a_key(tmp_path: Path, own_keys: KeyPair) -> None:
    encrypted = tmp_path / "encrypted.pem"
    arguments = ["openssl", "pkey", "-in", str(own_keys.private), "-aes256", "-passout", "pass:secret"]
    subprocess.run([*arguments, "-out", str(encrypted)], check=True, capture_output=True)
    for key, message in (
        (tmp_path / "none.pem", "cannot be read: No such file or directory; make one with: openssl genpkey"),
        (own_keys.public, "is no private key in PEM; make one with: openssl genpkey -algorithm ed25519"),
        (make_key_pair(tmp_path / "other", algorithm="x25519").private, "is a key of another kind"),
        (encrypted, "is encrypted; decrypt it on its way"),
    ):
        with pytest.raises(SigningError, match=message):
            read_signing_key(key)
