"""`make check` asks what is known against the pinned versions: findings fail it, so does an audit that was not done.

Behind a private registry or without a network the advisories cannot be asked. That passes only for those who say so by
name (`make check AUDIT=unreachable-ok`), and is said to them too.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_VALID_S = 24 * 3_600  # advisories appear daily
_UNREACHABLE = ("ConnectionError", "Could not connect", "ServiceError", "timed out", "Max retries exceeded")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was said about the pinned versions, in one line or one per finding.

    Attributes:
        is_done: the advisories were asked and knew the packages.
    """

    passes: bool
    text: str
    is_done: bool = True


def verdict(returncode: int, stdout: str, stderr: str) -> Verdict:
    """Of what pip-audit printed."""
    try:
        packages: list[dict[str, Any]] = json.loads(stdout)["dependencies"]
    except ValueError:
        if any(sign in stderr for sign in _UNREACHABLE):
            return Verdict(False, "audit: NOT DONE, no advisories can be reached from here", is_done=False)
        last = (stderr.strip() or f"it ended with {returncode}").splitlines()[-1]
        return Verdict(False, f"audit: pip-audit failed: {last}")
    findings = [_finding(package, known) for package in packages for known in package.get("vulns", ())]
    if findings:
        return Verdict(False, "\n".join(findings))
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if len(skipped) == len(packages):
        return Verdict(False, f"audit: NOT DONE, no advisories know any of the {len(packages)} packages", is_done=False)
    unknown = f", not asked of {', '.join(skipped)}" if skipped else ""
    return Verdict(True, f"audit: nothing is known against {len(packages) - len(skipped)} packages{unknown}")


def _finding(package: dict[str, Any], known: dict[str, Any]) -> str:
    mended = " or ".join(known["fix_versions"]) or "no version yet"
    return (
        f"audit: {package['name']} {package['version']} has {known['id']}, mended in {mended}: change constraints.txt"
    )


def audit(constraints: Path, options: Sequence[str]) -> Verdict:
    """Ask about each version in the file, as it stands: nothing is resolved or installed."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(constraints), "--no-deps", "--disable-pip"]
    asked = subprocess.run(
        [*command, "--format", "json", "--progress-spinner", "off", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return verdict(asked.returncode, asked.stdout, asked.stderr)


def _remembered(memory: Path, versions: str) -> str | None:
    """What was said in the last day about these versions."""
    try:
        kept = json.loads(memory.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    is_fresh = kept["versions"] == versions and 0 <= time.time() - kept["asked_at"] < _VALID_S
    return str(kept["text"]) if is_fresh else None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.dependency_audit",
        description=__doc__,
        epilog="Example: python -m tests.dependency_audit constraints.txt --memory .venv/.audited",
    )
    parser.add_argument("constraints", type=Path, help="file with a pinned version per line")
    parser.add_argument("--memory", type=Path, required=True, help="where a good answer is kept for a day")
    parser.add_argument("--unreachable-ok", action="store_true", help="pass where the advisories cannot be asked")
    parser.add_argument("--osv-url", help="ask a server that speaks OSV's protocol instead of PyPI")
    options = parser.parse_args(arguments)
    versions = hashlib.sha256(options.constraints.read_bytes()).hexdigest()
    text = _remembered(options.memory, versions)
    if text is not None:
        sys.stdout.write(f"{text} (asked within the last day)\n")
        return 0
    answer = audit(
        options.constraints, ["--vulnerability-service", "osv", "--osv-url", options.osv_url] if options.osv_url else []
    )
    sys.stdout.write(f"{answer.text}\n")
    if not answer.is_done:
        if not options.unreachable_ok:
            sys.stdout.write("audit: to go on without it, name it: make check AUDIT=unreachable-ok\n")
        return 0 if options.unreachable_ok else 1
    if answer.passes:
        kept = {"versions": versions, "asked_at": time.time(), "text": answer.text}
        options.memory.write_text(json.dumps(kept), encoding="utf-8")
    return 0 if answer.passes else 1


if __name__ == "__main__":
    sys.exit(main())
