"""The site as it is built: complete in itself."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.docs.blocks import ROOT

_LOADED = re.compile(r"<(?:script|img|link|iframe|source)\b[^>]*?\b(?:src|href)=[\"']?([^\"' >]+)")
_LINKED = re.compile(r"<a\b[^>]*?\bhref=[\"']?([^\"' >]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(directory)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert built.returncode == 0, built.stderr
    return directory


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        loaded = _LOADED.findall(page.read_text(encoding="utf-8"))
        assert loaded
        assert [target for target in loaded if "//" in target] == [], page


def test_every_link_to_a_file_of_the_repository_leads_to_a_page_or_a_copy(site: Path) -> None:
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue
        for target in _LINKED.findall(page.read_text(encoding="utf-8")):
            path = unquote(target.partition("#")[0])
            if path and not re.match(r"[a-z]+:", path):
                assert (page.parent / path).exists(), f"{page.relative_to(site)} links to {target}"


def test_the_reference_is_made_of_the_code(site: Path) -> None:
    commands = (site / "reference" / "commands" / "index.html").read_text(encoding="utf-8")
    assert "service doctor" in commands
    assert not (ROOT / "docs" / "reference").exists()
