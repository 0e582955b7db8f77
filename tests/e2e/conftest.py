"""The invented shop, served for real, and a real browser to look at it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from dinrank.model.bundle.reader import open_bundle
from tests.e2e.shop import write_shop
from tests.fixtures.command import ROOT, run, served

# Chromium as the system has it: playwright's own would be another download.
_BINARIES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    *("--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-quic", *(["--no-sandbox"] if os.getuid() == 0 else [])),
]
_TRAINING_TOML = "batch_size = 256\n"


@dataclass(frozen=True, slots=True)
class Shop:
    """The service on a real socket.

    Attributes:
        champion, challenger: versions of a DIN and of a model without attention, which has no users of its own.
    """

    address: str
    champion: str
    challenger: str

    def rank(self, **request: Any) -> Any:
        response = httpx.post(f"{self.address}/rank", json=request, timeout=30)
        assert response.status_code == 200, response.text
        return response.json()

    def user(self, user_id: str) -> Any:
        return httpx.get(f"{self.address}/users/{user_id}", timeout=30).json()


def _train(data: Path, model: str, out: Path, *, epochs: int) -> Path:
    config = data.parent / "training.toml"
    config.write_text(_TRAINING_TOML)
    command = ["train", "--data", str(data), "--model", model, "--config", str(config), "--epochs", str(epochs)]
    subprocess.run([sys.executable, "-m", "training", *command, "--out", str(out)], cwd=ROOT, check=True, timeout=600)
    return out


@pytest.fixture(scope="session")
def shop_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shop(tmp_path_factory.mktemp("shop") / "data")


@pytest.fixture(scope="session")
def shop_bundle(shop_data: Path) -> Path:
    return _train(shop_data, "din", shop_data.parent / "din", epochs=6)


@pytest.fixture(scope="session")
def other_bundle(shop_data: Path) -> Path:
    """Without attention."""
    return _train(shop_data, "base", shop_data.parent / "base", epochs=2)


@pytest.fixture(scope="session")
def shop(
    shop_data: Path, shop_bundle: Path, other_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    directory = tmp_path_factory.mktemp("service")
    published = run(directory, "publish", "--data", str(shop_data), "--bundle", str(shop_bundle))
    assert published.returncode == 0, published.stderr
    with served(directory, shop_bundle, "--challengers", f"{other_bundle}:shadow") as service:
        versions = [open_bundle(path).manifest.model_version for path in (shop_bundle, other_bundle)]
        yield Shop(service.address, *versions)


def chromium() -> str:
    """The program."""
    binary = next((found for found in map(shutil.which, _BINARIES) if found), None)
    assert binary, f"no browser: install Chromium ({', '.join(_BINARIES)} on PATH)"
    return binary


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        browser.close()


def _is_complaint(line: ConsoleMessage) -> bool:
    """Chromium reports every 404, which is how the service says that it does not know a user."""
    return line.type == "error" and not ("404" in line.text and "/users/" in line.location["url"])


@pytest.fixture
def page(browser: Browser, shop: Shop) -> Iterator[Page]:
    """A page without history. It fails the test when it asks another host, or when a script or the policy complains."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = context.new_page()
    complaints: list[str] = []

    def look(request: Request) -> None:
        if not request.url.startswith((f"{shop.address}/", "data:")):
            complaints.append(f"asked {request.url}")

    page.on("request", look)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if _is_complaint(line) else None)
    page.set_default_timeout(20_000)
    yield page
    context.close()
    assert complaints == []
