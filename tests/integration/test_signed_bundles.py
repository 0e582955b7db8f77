"""DINRANK_BUNDLE_KEYS in every command that opens a bundle, with real keys and processes."""

import shutil
from pathlib import Path

import pytest

from tests.fixtures.bundle import make_bundle
from tests.fixtures.command import served
from tests.fixtures.service import ADMIN, running_service
from tests.fixtures.signing import KeyPair
from tests.integration.test_cli import invoke, write_dataset
from tests.integration.test_reload import switch


@pytest.fixture
def signed(tmp_path: Path, bundle_path: Path, own_keys: KeyPair) -> Path:
    return own_keys.sign(Path(shutil.copytree(bundle_path, tmp_path / "signed")))


def test_every_command_refuses_an_unsigned_bundle(bundle_path: Path, own_keys: KeyPair, tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    for command in (
        ["serve", "--port", "0"],
        ["publish", "--data", str(data), "--redis", "redis://127.0.0.1:1"],
        ["consume", "--redis", "redis://127.0.0.1:1"],
        ["demo", "--data", str(data)],
    ):
        ended = invoke(*command, "--bundle", str(bundle_path), DINRANK_BUNDLE_KEYS=str(own_keys.public))
        line = ended.stderr.splitlines()[-1]
        assert (ended.exit_code, ended.stdout) == (1, ""), command
        assert line.startswith("error: manifest.sig: expected a signature by one of the 1 keys"), command
        assert "python -m training sign" in line


def test_the_doctor_says_who_is_trusted(signed: Path, own_keys: KeyPair, foreign_keys: KeyPair, tmp_path: Path) -> None:
    quiet = {"DINRANK_REDIS_DATA_DIR": str(tmp_path / "redis")}
    for keys, found in (
        (own_keys, f"{signed} is formula"),
        (foreign_keys, f"{signed} cannot be served: manifest.sig: expected a signature"),
    ):
        ended = invoke("doctor", "--bundle", str(signed), DINRANK_BUNDLE_KEYS=str(keys.public), **quiet)
        assert found in ended.stdout
        assert ("signed by a trusted key" in ended.stdout) == (keys is own_keys)


def test_two_workers_serve_a_signed_bundle(signed: Path, own_keys: KeyPair, tmp_path: Path) -> None:
    with served(
        tmp_path, signed, "--redis", "embedded", "--workers", "2", DINRANK_BUNDLE_KEYS=str(own_keys.public)
    ) as service:
        assert "Traceback" not in service.output.read_text()


def test_a_bundle_of_somebody_else_is_not_swapped_in(
    signed: Path, own_keys: KeyPair, foreign_keys: KeyPair, redis_url: str, tmp_path: Path
) -> None:
    link = tmp_path / "current"
    link.symlink_to(signed)
    other = make_bundle(tmp_path / "other", shift=1.0)
    with running_service(link, redis_url, bundle_poll_ms=0, bundle_keys=own_keys.public) as service:
        before = service.get("/model").json()["version"]
        switch(link, other)
        for found in ("found no signature", "found one that none of them made of this manifest"):
            refused = service.request("POST", "/admin/reload", headers=ADMIN)
            assert refused.status_code == 409
            assert refused.json()["detail"].endswith(found)
            assert str(own_keys.public.parent) not in refused.text
            assert service.get("/model").json()["version"] == before
            foreign_keys.sign(other)
        own_keys.sign(other)
        assert service.request("POST", "/admin/reload", headers=ADMIN).json()["outcome"] == "swapped"
