"""Whatever is sent, the service answers in time, with no 500, no stack trace and no secret. `make fuzz` sends more."""

import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.fixtures.command import ONE_AD, ROOT, TIMEOUT_S, Served, served
from tests.fixtures.redis_server import RedisServer
from tests.fuzz.caller import Caller
from tests.fuzz.calls import tasks
from tests.fuzz.hostile import HUGE, Hostile
from tests.fuzz.slow import slow_callers
from tests.fuzz.stored import store_hostile_features
from tests.fuzz.wire import Manner, Target

KEY, PASSWORD = "k" * 32, "p" * 32
NUM_REQUESTS = 250


@pytest.fixture(scope="module")
def worker(bundle_path: Path, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One worker process with keys, and a Redis whose password nobody may learn."""
    directory = tmp_path_factory.mktemp("hostile")
    (directory / "keys").write_text(KEY)
    redis_server.client.execute_command("ACL", "SETUSER", "hostile", "on", f">{PASSWORD}", "~*", "+@all")
    url = f"redis://hostile:{PASSWORD}@127.0.0.1:{redis_server.port}"
    limits = {"DINRANK_HEADER_TIMEOUT_MS": "1000", "DINRANK_BODY_TIMEOUT_MS": "1000"}
    keys = {"DINRANK_API_KEYS_FILE": str(directory / "keys")}
    with served(directory, bundle_path, "--redis", url, **limits, **keys) as running:
        yield running
        log = running.output.read_text()
        assert "Traceback" not in log
        assert not any(secret in log for secret in (KEY, PASSWORD))
    redis_server.client.execute_command("ACL", "DELUSER", "hostile")


def target_of(worker: Served) -> Target:
    return Target(int(worker.address.rpartition(":")[2]))


@pytest.fixture
def caller(worker: Served) -> Iterator[Caller]:
    calling = Caller(target_of(worker), KEY, secrets=(PASSWORD,))
    yield calling
    calling.close()


def test_no_request_of_hundreds_gets_an_answer_that_must_not_be(
    worker: Served, caller: Caller, redis_server: RedisServer
) -> None:
    store_hostile_features(redis_server.client)
    statuses: Counter[int] = Counter()
    manners: Counter[Manner] = Counter()

    @settings(
        max_examples=NUM_REQUESTS,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(tasks(target_of(worker)))
    def send(task: tuple[Manner, list[Hostile]]) -> None:
        manner, several = task
        statuses.update(answer.status for answer in caller.send_as(manner, several))
        manners[manner] += 1

    with slow_callers(int(worker.address.rpartition(":")[2]), KEY, each=1) as slow:
        send()
    assert manners.total() == NUM_REQUESTS
    assert manners.keys() == set(Manner)
    assert statuses[200] and statuses[422]  # some bodies are good
    for name, expected in {"slow head": "408", "slow body": "408", "slow without a key": "401"}.items():
        ends = {status for sort, status in slow if sort == name}
        assert ends <= {expected, "closed"}, name  # closed: a byte crossed the end of the connection


@pytest.mark.parametrize("expects_100", [False, True])
def test_a_body_that_comes_after_its_head_and_in_parts_is_read_to_its_end(worker: Served, expects_100: bool) -> None:
    body = json.dumps(ONE_AD).encode()
    head = f"POST /rank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-API-Key: {KEY}\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n" + "Expect: 100-continue\r\n" * expects_100
    with socket.create_connection(("127.0.0.1", int(worker.address.rpartition(":")[2])), timeout=TIMEOUT_S) as caller:
        for part in (f"{head}\r\n".encode(), body[:10], body[10:-1], body[-1:]):
            caller.sendall(part)
            time.sleep(0.05)  # the worker has read it by then, and waits
        answer = b"".join(iter(partial(caller.recv, 65_536), b""))
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.startswith(interim) is expects_100
    status, _, rest = answer.removeprefix(interim).partition(b"\r\n")
    assert status == b"HTTP/1.1 200 OK"
    assert [ad["ad_id"] for ad in json.loads(rest.partition(b"\r\n\r\n")[2])["ads"]] == ["1"]


def test_huge_bodies_cost_memory_in_proportion(worker: Served, caller: Caller) -> None:
    assert {caller.send(Hostile("huge", body)).status for body in HUGE} == {413, 422}
    status = Path(f"/proc/{worker.process.pid}/status").read_text(encoding="ascii")
    [peak_kb] = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")]
    # The process itself takes 150 MB; each fault of each candidate explained once took 1,600.
    assert peak_kb < 600_000


def test_the_answers_keep_what_the_openapi_document_promises(worker: Served) -> None:
    program = Path(sys.executable).parent / "schemathesis"
    config = ROOT / "tests" / "fuzz" / "schemathesis.toml"
    document = f"{worker.address}/openapi.json"
    options = ["--checks", "all", "--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--seed", "1"]
    asked = subprocess.run(
        [str(program), "--config-file", str(config), "run", document, *options, "-H", f"Authorization: Bearer {KEY}"],
        cwd=worker.output.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=4 * TIMEOUT_S,
    )
    assert asked.returncode == 0, asked.stdout[-5_000:] + asked.stderr[-2_000:]
