"""The service does not start where it would be open, or half encrypted, by oversight."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from dinrank.service.access.keys import BadKeyFile
from dinrank.service.access.own_names import is_loopback
from dinrank.service.commands.exposure import BadCertificate, Exposed, check_exposure
from dinrank.service.settings import Settings
from tests.fixtures.tls import Certificate


def check(**settings: Any) -> None:
    check_exposure(Settings.read(bundle=Path("b"), **settings))


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("k" * 16)
    return path


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_this_machine_alone_needs_no_keys(host: str) -> None:
    assert is_loopback(host)
    check(host=host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.0.2.1", "", "example.org", "::ffff:127.0.0.1", "127.0.0.1.nip.io"]
)
def test_any_other_address_needs_keys_or_the_word(host: str, keys: Path) -> None:
    assert not is_loopback(host)
    with pytest.raises(Exposed, match="set DINRANK_API_KEYS_FILE to a file of keys, or DINRANK_ANONYMOUS=allowed"):
        check(host=host)
    check(host=host, api_keys_file=keys)
    check(host=host, anonymous="allowed")


def test_admin_keys_do_not_make_up_for_keys(keys: Path) -> None:
    with pytest.raises(Exposed):
        check(host="0.0.0.0", admin_keys_file=keys)


@pytest.mark.parametrize("setting", ["api_keys_file", "admin_keys_file"])
def test_a_bad_file_of_keys_is_refused(setting: str, tmp_path: Path) -> None:
    with pytest.raises(BadKeyFile):
        check(**{setting: tmp_path / "none"})


def test_a_certificate_and_its_key_are_accepted(certificate: Certificate) -> None:
    check(tls_certificate=certificate.certificate, tls_key=certificate.key)


@pytest.mark.parametrize("setting", ["tls_certificate", "tls_key"])
def test_one_of_certificate_and_key_is_not_enough(setting: str, tmp_path: Path) -> None:
    with pytest.raises(BadCertificate, match="set DINRANK_TLS_CERTIFICATE and DINRANK_TLS_KEY, or neither"):
        check(**{setting: tmp_path / "file.pem"})


def test_a_missing_file_is_named(tmp_path: Path, certificate: Certificate) -> None:
    with pytest.raises(BadCertificate, match="none.pem cannot be read: No such file"):
        check(tls_certificate=certificate.certificate, tls_key=tmp_path / "none.pem")


def test_a_key_of_another_certificate_is_refused(tmp_path: Path, certificate: Certificate) -> None:
    other = tmp_path / "other.pem"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(other)], check=True)
    with pytest.raises(BadCertificate, match=r"no PEM certificate with its unencrypted key: KEY_VALUES_MISMATCH"):
        check(tls_certificate=certificate.certificate, tls_key=other)


def test_an_encrypted_key_is_refused_without_a_question(tmp_path: Path, certificate: Certificate) -> None:
    encrypted = tmp_path / "encrypted.pem"
    options = ["-aes128", "-passout", "pass:test", "-in", str(certificate.key), "-out", str(encrypted)]
    subprocess.run(["openssl", "ec", *options], check=True, capture_output=True)
    with pytest.raises(BadCertificate, match="the key is encrypted"):
        check(tls_certificate=certificate.certificate, tls_key=encrypted)


def test_a_key_of_both_files_ends_the_start(tmp_path: Path) -> None:
    for name in ("api", "admin"):
        (tmp_path / name).write_text(f"{name * 10}\n{'common' * 5}\n")
    with pytest.raises(Exposed, match="have a key in common"):
        check(api_keys_file=tmp_path / "api", admin_keys_file=tmp_path / "admin")
