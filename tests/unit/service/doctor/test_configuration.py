import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dinrank.service.access.admin_token import admin_token
from dinrank.service.cores import usable_cores
from dinrank.service.doctor.configuration import check_access, check_admin, check_workers
from dinrank.service.doctor.report import Finding, Level
from dinrank.service.settings import Settings
from tests.fixtures.tls import Certificate


def settings(**given: Any) -> Settings:
    return Settings.read(bundle=Path("b"), **given)


def said(findings: list[Finding]) -> list[tuple[Level, str]]:
    return [(finding.level, f"{finding.message}; {finding.remedy}") for finding in findings]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("k" * 16)
    path.chmod(0o600)
    return path


def test_loopback_without_keys_is_well() -> None:
    [(level, _)] = said(check_access(settings()))
    assert level is Level.OK


def test_outside_without_keys_is_wrong_and_says_which_setting() -> None:
    [(level, text)] = said(check_access(settings(host="0.0.0.0")))
    assert level is Level.WRONG
    assert "DINRANK_API_KEYS_FILE" in text


def test_a_bad_file_of_keys_is_wrong(keys: Path) -> None:
    keys.write_text("short")
    [(level, text)] = said(check_access(settings(api_keys_file=keys)))
    assert level is Level.WRONG
    assert f"{keys}, line 1" in text


def test_a_certificate_without_its_key_is_wrong(certificate: Certificate) -> None:
    [(level, text)] = said(check_access(settings(tls_certificate=certificate.certificate)))
    assert (level, "set DINRANK_TLS_CERTIFICATE and DINRANK_TLS_KEY" in text) == (Level.WRONG, True)


def test_keys_over_plain_http_are_a_warning(keys: Path, certificate: Certificate) -> None:
    over_http = said(check_access(settings(host="0.0.0.0", api_keys_file=keys)))
    assert [level for level, _ in over_http] == [Level.OK, Level.WARNING]
    assert "plain HTTP, keys included" in over_http[1][1]
    pair = {"tls_certificate": certificate.certificate, "tls_key": certificate.key}
    assert [level for level, _ in said(check_access(settings(host="0.0.0.0", api_keys_file=keys, **pair)))] == [
        Level.OK
    ]


def test_everybody_let_in_from_outside_is_a_warning() -> None:
    found = said(check_access(settings(host="0.0.0.0", anonymous="allowed")))
    assert "lets everybody in" in found[0][1]
    assert {level for level, _ in found} == {Level.WARNING}


def test_keys_that_every_user_can_read_are_a_warning(keys: Path) -> None:
    keys.chmod(0o644)
    assert said(check_access(settings(api_keys_file=keys)))[1] == (
        Level.WARNING,
        f"every user of this machine can read {keys}; chmod 600 {keys}",
    )


def test_more_scoring_threads_than_cores_are_a_warning_with_the_right_number() -> None:
    cores = usable_cores()
    [(level, text)] = said(check_workers(settings(workers=cores + 1)))
    assert (level, f"DINRANK_WORKERS={cores}," in text) == (Level.WARNING, True)
    [(level, _)] = said(check_workers(settings(workers=cores, scoring_threads=1)))
    assert level is Level.OK
    [(level, _)] = said(check_workers(settings(workers=cores, scoring_threads=2)))
    assert level is Level.WARNING


@pytest.mark.parametrize("setting", ["api_keys_file", "admin_keys_file", "tls_key"])
def test_secrets_that_others_can_write_are_a_warning(
    tmp_path: Path, keys: Path, certificate: Certificate, setting: str
) -> None:
    given: dict[str, Path] = {setting: keys}
    if setting == "tls_key":
        keys.write_bytes(certificate.key.read_bytes())
        given["tls_certificate"] = certificate.certificate
    for place, mode in ((keys, 0o620), (tmp_path, 0o770)):
        before = place.stat().st_mode
        place.chmod(mode)
        [warned] = [each for each in check_access(settings(**given)) if each.level is Level.WARNING]
        assert f"other accounts can write to {place}" in warned.message
        assert warned.remedy == f"chmod go-w {place}"
        place.chmod(before)


def test_pages_that_may_be_among_the_callers_are_a_warning() -> None:
    [_, warned] = check_access(settings(anonymous="allowed"))
    assert (warned.level, "DINRANK_ALLOWED_HOSTS" in warned.remedy) == (Level.WARNING, True)
    assert len(check_access(settings(anonymous="allowed", allowed_hosts="shop.example"))) == 1


def test_what_opens_admin_routes_is_said(tmp_path: Path, keys: Path) -> None:
    assert said(check_admin(settings(admin_keys_file=keys)))[0][1].startswith(f"admin routes take a key of {keys}")
    directory = tmp_path / "run"
    given = settings(admin_token_dir=directory, port=8123)
    [(level, text)] = said(check_admin(given))
    assert (level, f"{directory}/admin-token-127.0.0.1-8123 while it runs" in text) == (Level.OK, True)
    with admin_token(directory / "admin-token-127.0.0.1-8123"):
        assert "admin routes take the token in" in said(check_admin(given))[0][1]
    (directory / "admin-token-127.0.0.1-8123").write_text("stump")
    assert said(check_admin(given))[0][0] is Level.WRONG


def test_a_file_limit_below_the_connections_is_wrong_and_one_that_can_be_raised_is_not() -> None:
    """In a process of its own, as what is taken of the hard limit never comes back."""
    program = """
import resource, sys
from pathlib import Path
from dinrank.service.doctor.configuration import check_file_limit
from dinrank.service.settings import Settings
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 1_000))
for number in (1_000, 700):
    [finding] = check_file_limit(Settings.read(bundle=Path("b"), max_connections=number, redis_max_connections=64))
    print(finding.level, finding.remedy)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    wrong, well = said.stdout.splitlines()
    assert wrong.startswith(Level.WRONG) and "ulimit -Hn 1208" in wrong
    assert well.startswith(Level.OK)
