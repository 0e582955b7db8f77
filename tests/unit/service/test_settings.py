"""What an operator can set."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from dinrank.service.cores import usable_cores
from dinrank.service.settings import Settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DINRANK_{name.upper()}", raising=False)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DINRANK_BUNDLE", "bundles/din")
    monkeypatch.setenv("DINRANK_REDIS_TIMEOUT_MS", "20")
    settings = Settings.read()
    assert settings.bundle == Path("bundles/din")
    assert settings.redis_timeout_ms == 20


def test_a_flag_overrides_the_environment_and_an_absent_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DINRANK_BUNDLE", "of the environment")
    monkeypatch.setenv("DINRANK_PORT", "1")
    settings = Settings.read(bundle=Path("of the flag"), port=None)
    assert (settings.bundle, settings.port) == (Path("of the flag"), 1)


def test_another_process_reads_equal_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.read(bundle=Path("b"), redis="redis://:secret@127.0.0.1:1/2", workers=3, log_level="debug")
    for name, value in settings.to_environment().items():
        monkeypatch.setenv(name, value)
    assert Settings.read() == settings


def test_there_is_a_worker_per_usable_core_unless_a_number_is_set() -> None:
    assert Settings.read(bundle=Path("b")).workers == usable_cores()
    assert Settings.read(bundle=Path("b"), workers=3).workers == 3


def test_the_bundle_must_be_set() -> None:
    with pytest.raises(ValidationError, match="bundle"):
        Settings.read()


@pytest.mark.parametrize(
    "wrong",
    [
        {"redis": ""},
        {"redis_timeout_ms": 0},
        {"port": 65536},
        {"workers": 0},
        {"max_candidates": 0},
        {"max_explained_pairs": 0},
        {"redis_failure": "ignore"},
        {"breaker_failures": 0},
        {"max_waiting": -1},
        {"max_wait_ms": 0},
        {"log_level": "loud"},
        {"log_format": "xml"},
        {"trace_endpoint": "127.0.0.1:4317"},
        {"trace_endpoint": "grpc://127.0.0.1:4317"},
        {"trace_endpoint": "http://"},
        {"no_such_setting": 1},
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.read(bundle=Path("b"), **wrong)


def test_settings_never_change() -> None:
    settings = Settings.read(bundle=Path("b"))
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1


def test_a_password_in_the_url_is_not_shown() -> None:
    assert "secret" not in repr(Settings.read(bundle=Path("b"), redis="redis://:secret@127.0.0.1"))


def test_every_setting_says_what_it_does() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_hosts_are_read_as_browsers_spell_them(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.read(bundle=Path("b"), allowed_hosts="Shop.Example , [2001:DB8:0::1],, 192.0.2.7")
    assert settings.allowed_hosts == ("shop.example", "2001:db8::1", "192.0.2.7")
    for name, value in settings.to_environment().items():
        monkeypatch.setenv(name, value)
    assert Settings.read() == settings


@pytest.mark.parametrize(
    "text", ["*", "*.example", "shop.example.", "http://shop.example", "shop.example:80", "a b", "ä"]
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="is no host"):
        Settings.read(bundle=Path("b"), allowed_hosts=text)
