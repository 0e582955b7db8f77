"""`make fuzz`: hypothesis-made requests over real sockets to a real worker process, with a real Redis behind it.

Ends by itself, after so many requests or so many seconds, with a table of what was sent and answered, and with code 1
when anything got an answer that must not be, or the service logged a bug.
"""

import argparse
import secrets
import sys
import tempfile
from collections import Counter
from pathlib import Path

import httpx

from tests.fixtures.bundle import make_bundle
from tests.fixtures.command import served
from tests.fixtures.redis_server import run_redis
from tests.fuzz.calls import Row, call
from tests.fuzz.slow import slow_callers
from tests.fuzz.stored import store_hostile_features


def main() -> int:
    options = _options()
    random_seed = options.seed if options.seed is not None else secrets.randbelow(2**32)
    _say(f"at most {options.requests:,} requests or {options.seconds} s, seed {random_seed}")
    with tempfile.TemporaryDirectory(prefix="dinrank-fuzz-") as directory:
        return _fuzz(Path(directory), options, random_seed)


def _fuzz(directory: Path, options: argparse.Namespace, random_seed: int) -> int:
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
        with served(directory, bundle, "--redis", url, **limits) as service:
            port = int(service.address.rpartition(":")[2])
            with slow_callers(port, key) as slow:
                statuses, faults = call(
                    port,
                    key,
                    (password,),
                    count=options.requests,
                    seconds=options.seconds,
                    jobs=options.jobs,
                    random_seed=random_seed,
                )
            _print_table(statuses + slow)
            faults += _faults_of(service.output.read_text(), service.address, key)
    for fault in faults:
        _say(f"FAULT: {fault}")
    _say(f"{statuses.total():,} requests, {len(faults)} faults")
    return 1 if faults else 0


def _faults_of(log: str, address: str, key: str) -> list[str]:
    """What the service itself says of the time."""
    faults = [f"the service logged {word}" for word in ("Traceback", "internal-error", key) if word in log]
    metrics = httpx.get(f"{address}/metrics", headers={"X-API-Key": key}, timeout=60).text
    bugs = [line for line in metrics.splitlines() if "internal-error" in line or "prediction-failed" in line]
    return faults + [line for line in bugs if not line.endswith(" 0.0")]


def _print_table(statuses: Counter[Row]) -> None:
    columns = sorted({status for _, status in statuses})
    _say(f"{'requests':30}" + "".join(f"{column:>9}" for column in columns))
    for kind in sorted({kind for kind, _ in statuses}):
        _say(f"{kind:30}" + "".join(f"{statuses[kind, column]:>9,}" for column in columns))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=1_800)
    parser.add_argument("--jobs", type=int, default=2, help="processes that call")
    parser.add_argument("--seed", type=int, help="of the requests; by default another one each time")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
