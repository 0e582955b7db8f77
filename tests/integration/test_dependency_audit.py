"""The audit of dependencies, with the real pip-audit and a server on this machine that speaks OSV's protocol."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.dependency_audit import main, verdict

FINDING = {
    "id": "GHSA-test",
    "modified": "2026-01-01T00:00:00Z",
    "published": "2026-01-01T00:00:00Z",
    "details": "made up",
    "affected": [
        {
            "package": {"name": "orjson", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.99.0"}]}],
            "versions": ["3.11.4"],
        }
    ],
}


@contextmanager
def advisories(known: list[object]) -> Iterator[tuple[str, list[str]]]:
    """A server's address, and the packages that it was asked about."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"])
            body = json.dumps({"vulns": known}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def constraints(tmp_path: Path) -> Path:
    path = tmp_path / "constraints.txt"
    path.write_text("orjson==3.11.4\n")
    return path


def audited(constraints: Path, url: str, *flags: str) -> int:
    return main([str(constraints), "--memory", str(constraints.parent / "memory"), "--osv-url", url, *flags])


def test_what_is_known_against_a_pinned_version_fails(constraints: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with advisories([FINDING]) as (url, _):
        assert audited(constraints, url) == 1
    assert not (constraints.parent / "memory").exists()  # the next check asks again
    assert "audit: orjson 3.11.4 has GHSA-test, mended in 3.99.0" in capsys.readouterr().out


def test_a_clean_answer_is_remembered_until_the_versions_change(
    constraints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with advisories([]) as (url, asked):
        assert [audited(constraints, url) for _ in range(2)] == [0, 0]
        assert asked == ["orjson"]
        constraints.write_text("orjson==3.11.5\n")
        audited(constraints, url)
    assert asked == ["orjson", "orjson"]
    assert capsys.readouterr().out.startswith("audit: nothing is known against 1 packages\n")


def test_advisories_out_of_reach_fail_unless_that_is_named(
    constraints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = "http://127.0.0.1:9"
    not_done = "audit: NOT DONE, no advisories can be reached from here\n"
    assert audited(constraints, nobody, "--unreachable-ok") == 0
    assert capsys.readouterr().out == not_done
    assert audited(constraints, nobody) == 1  # what was let pass before is not remembered as an answer
    assert capsys.readouterr().out == (
        f"{not_done}audit: to go on without it, name it: make check AUDIT=unreachable-ok\n"
    )


def test_a_finding_fails_also_those_who_can_do_without_an_audit(constraints: Path) -> None:
    with advisories([FINDING]) as (url, _):
        assert audited(constraints, url, "--unreachable-ok") == 1


def test_a_registry_that_knows_no_advisories_is_no_clean_answer() -> None:
    packages = [{"name": "orjson", "skip_reason": "Dependency not found on PyPI and could not be audited"}]
    said = verdict(0, json.dumps({"dependencies": packages}), "")
    assert (said.passes, said.is_done) == (False, False)
    assert said.text == "audit: NOT DONE, no advisories know any of the 1 packages"


def test_an_audit_that_fails_by_itself_fails(constraints: Path, capsys: pytest.CaptureFixture[str]) -> None:
    constraints.write_text("this is no requirement\n")
    assert audited(constraints, "http://127.0.0.1:9") == 1
    assert capsys.readouterr().out.startswith("audit: pip-audit failed: ")
