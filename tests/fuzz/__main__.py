"""`make fuzz`: hypothesis-made requests over real sockets to real worker processes, with a real Redis behind them.

One process speaks HTTP, one HTTPS. Most requests come one by one, others in pipelines, from callers who say that they
send no more, and from callers who are gone before the answer.

Ends by itself, after so many requests or so many seconds, with a table of what was sent and answered, and with code 1
when anything got an answer that must not be, or the service logged a bug.
"""

import secrets
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console

from bench.harness.progress import progress_bar
from tests.fixtures.bundle import make_bundle
from tests.fixtures.command import Served, served
from tests.fixtures.redis_server import run_redis
from tests.fixtures.tls import make_certificate
from tests.fuzz.calls import Row, call
from tests.fuzz.slow import slow_callers
from tests.fuzz.stored import store_hostile_features
from tests.fuzz.wire import Target

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How much, at most."""

    requests: int
    seconds: int
    jobs: int


@app.command(epilog="Example: python -m tests.fuzz --requests 5000 --jobs 2 --seed 7")
def main(
    requests: Annotated[int, typer.Option(min=1, help="Requests at most.")] = 100_000,
    seconds: Annotated[int, typer.Option(min=1, help="Seconds at most.")] = 1_800,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that call.")] = 2,
    seed: Annotated[int | None, typer.Option(help="Of the requests; another one each time when left out.")] = None,
) -> None:
    """Hostile requests over real sockets to a real worker; ends with code 1 when anything got a wrong answer."""
    plan, random_seed = _Plan(requests, seconds, jobs), secrets.randbelow(2**32) if seed is None else seed
    _say(f"at most {requests:,} requests or {seconds} s, seed {random_seed}")
    with tempfile.TemporaryDirectory(prefix="dinrank-fuzz-") as directory:
        raise typer.Exit(_fuzz(Path(directory), plan, random_seed))


def _fuzz(directory: Path, plan: _Plan, random_seed: int) -> int:
    key, password = secrets.token_hex(16), secrets.token_hex(16)
    (directory / "keys").write_text(key)
    redis_directory = directory / "redis"
    redis_directory.mkdir()
    bundle = make_bundle(directory / "bundle")
    with run_redis(redis_directory, "--save", "") as redis_server:
        redis_server.client.execute_command("ACL", "SETUSER", "service", "on", f">{password}", "~*", "+@all")
        store_hostile_features(redis_server.client)
        url = f"redis://service:{password}@127.0.0.1:{redis_server.port}"
        limits = {"DINRANK_API_KEYS_FILE": str(directory / "keys"), "DINRANK_HEADER_TIMEOUT_MS": "2000"}
        limits["DINRANK_BODY_TIMEOUT_MS"] = "3000"
        certificate = make_certificate(directory)
        tls = {"DINRANK_TLS_CERTIFICATE": str(certificate.certificate), "DINRANK_TLS_KEY": str(certificate.key)}
        over_tls = directory / "over-tls"
        over_tls.mkdir()
        with (
            served(directory, bundle, "--redis", url, **limits) as plain,
            served(over_tls, bundle, "--redis", url, **limits, **tls) as secure,
        ):
            targets = [Target(_port(plain)), Target(_port(secure), str(certificate.certificate))]
            bar = progress_bar(Console(stderr=True), "calling", total=plan.requests, unit="requests")
            with slow_callers(_port(plain), key) as slow, bar as advance:
                statuses, faults = call(
                    targets,
                    key,
                    (password,),
                    count=plan.requests,
                    seconds=plan.seconds,
                    jobs=plan.jobs,
                    random_seed=random_seed,
                    on_sent=advance,
                )
            _print_table(statuses + slow)
            for service in (plain, secure):
                faults += _faults_of(service.output.read_text(), service.address, key)
    for fault in faults:
        _say(f"FAULT: {fault}")
    _say(f"{statuses.total():,} requests, {len(faults)} faults")
    return 1 if faults else 0


def _port(service: Served) -> int:
    return int(service.address.rpartition(":")[2])


def _faults_of(log: str, address: str, key: str) -> list[str]:
    """What the service itself says of the time."""
    faults = [f"the service logged {word}" for word in ("Traceback", "internal-error", key) if word in log]
    metrics = httpx.get(f"{address}/metrics", headers={"X-API-Key": key}, timeout=60, verify=False).text
    bugs = [line for line in metrics.splitlines() if "internal-error" in line or "prediction-failed" in line]
    return faults + [line for line in bugs if not line.endswith(" 0.0")]


def _print_table(statuses: Counter[Row]) -> None:
    columns = sorted({status for _, status in statuses})
    _say(f"{'requests':44}" + "".join(f"{column:>9}" for column in columns))
    for kind in sorted({kind for kind, _ in statuses}):
        _say(f"{kind:44}" + "".join(f"{statuses[kind, column]:>9,}" for column in columns))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    app()
