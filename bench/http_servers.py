"""CPU time and requests per second of HTTP servers in Python under one small application.

    python -m bench.http_servers --others path/to/python

Plain uvicorn, uvicorn with the service's connection limits, and granian and hypercorn from the interpreter of
`--others` (`pip install granian hypercorn uvloop`). One worker process each, one
keep-alive connection over the loopback, a POST of 12 kB, an answer of 2 kB; the servers take turns, and the figures are
medians of the rounds. CPU time is that of all processes of a server. Decision 29 is based on it.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.table import Table

from bench.harness.processes import ROOT, connect
from bench.harness.progress import progress_bar
from dinrank.training.report.report import describe_machine

_BODY, _ANSWER = b"x" * 12_000, b"y" * 2_000
_OURS = "uvicorn with the service's limits"
_APP = "bench.http_servers:application"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Reads a body and answers."""
    if scope["type"] == "lifespan":
        await _live(scope, receive, send)
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-length", b"%d" % len(_ANSWER)), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _ANSWER})


async def _live(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    if "state" in scope and "dinrank.service.telemetry" in sys.modules:
        from dinrank.service.telemetry.metrics import Telemetry

        scope["state"]["telemetry"] = Telemetry()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def serve_limited(port: int) -> None:
    """The service's server with this application."""
    from dinrank.service.process.protocol import ConnectionLimits
    from dinrank.service.process.server import listening_socket
    from dinrank.service.process.stopping import DrainingServer, ServerConfig

    limits = ConnectionLimits(
        max_header_bytes=16_384, header_timeout_ms=10_000, body_timeout_ms=30_000, max_connections=1_000
    )
    config = ServerConfig(
        _APP, limits=limits, ws="none", lifespan="on", proxy_headers=False, access_log=False, server_header=False
    )
    with listening_socket("127.0.0.1", port) as bound:
        DrainingServer(config, drain_ms=0).run(sockets=[bound])


def _commands(others: Path | None) -> dict[str, list[str]]:
    python = sys.executable
    uvicorn = "--no-access-log --no-proxy-headers --no-server-header --log-level warning --lifespan on --ws none"
    found = {
        "uvicorn": [python, "-m", "uvicorn", _APP, *uvicorn.split(), "--port"],
        _OURS: [python, "-c", "import sys, bench.http_servers as b; b.serve_limited(int(sys.argv[1]))"],
    }
    if others is not None:
        granian = "--interface asgi --workers 1 --loop uvloop --no-ws --log-level error --port"
        found["granian"] = [str(others), "-m", "granian", _APP, *granian.split()]
        found["hypercorn"] = [str(others), "-m", "hypercorn", _APP, "-k", "uvloop", "--log-level", "ERROR", "--bind"]
    return found


@contextmanager
def _running(command: list[str], port: int) -> Iterator[psutil.Process]:
    where = f"127.0.0.1:{port}" if command[-1] == "--bind" else str(port)
    process = subprocess.Popen([*command, where], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                _post(port, 1)
                break
            except OSError:
                time.sleep(0.05)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def _post(port: int, count: int) -> None:
    connection = connect(port)
    for _ in range(count):
        connection.request("POST", "/", _BODY)
        response = connection.getresponse()
        assert response.read() == _ANSWER, response.status
    connection.close()


def _cpu_s(process: psutil.Process) -> float:
    family = [process, *process.children(recursive=True)]
    tasks = [task for each in family for task in Path(f"/proc/{each.pid}/task").glob("*/schedstat")]
    return sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9


@app.command(epilog="Example: python -m bench.http_servers --rounds 6")
def main(
    others: Annotated[Path | None, typer.Option(help="Interpreter that has granian and hypercorn.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each server.")] = 8,
    requests: Annotated[int, typer.Option(min=1, help="Requests a turn.")] = 1_000,
    first_port: Annotated[int, typer.Option(help="The servers listen on this port and the next ones.")] = 18_900,
) -> None:
    """Measure microseconds of CPU and requests per second of each."""
    console, commands = Console(), _commands(others)
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    with ExitStack() as stack:
        ports = {name: first_port + number for number, name in enumerate(commands)}
        servers = {name: stack.enter_context(_running(command, ports[name])) for name, command in commands.items()}
        total = (rounds + 1) * len(servers) * requests
        advance = stack.enter_context(progress_bar(console, "asking", total=total, unit="requests"))
        for round_ in range(rounds + 1):
            for name, process in servers.items():
                cpu_s, began_s = _cpu_s(process), time.monotonic()
                _post(ports[name], requests)
                took_s, spent_s = time.monotonic() - began_s, _cpu_s(process) - cpu_s
                if round_:  # the first one warms up
                    figures[name].append((1e6 * spent_s / requests, requests / took_s))
                advance(requests)
    table = Table("server", "CPU µs per request", "requests/s, one connection")
    for name, each in figures.items():
        cpu_us, per_s = (statistics.median(column) for column in zip(*each, strict=True))
        table.add_row(name, f"{cpu_us:.0f}", f"{per_s:,.0f}")
    console.print(table)
    console.print(f"{describe_machine()}")


if __name__ == "__main__":
    app()
