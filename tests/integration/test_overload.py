"""More requests than a worker can do, callers in a hurry and callers who leave: a real process, real sockets.

A Redis that stands still, with a long time-out, keeps every place taken for as long as a test needs it.
"""

import http.client
import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bench.harness.processes import Server, get, serving
from dinrank.service.scoring.admission import PLACES_BESIDE_SCORING
from tests.fixtures.redis_server import RedisServer, run_redis, wait_until

NUM_PLACES = 1 + PLACES_BESIDE_SCORING  # one scoring thread
MAX_WAITING = 2
ANSWERS_WITHIN_S = 20.0  # what does not wait for Redis; that would take for ever
BODY = json.dumps({"user_id": "42", "candidates": [{"ad_id": "1", "bid": 1.0}]}).encode()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    directory = tmp_path_factory.mktemp("redis")
    with run_redis(directory, "--save", "") as server:
        yield server


@pytest.fixture(scope="module")
def server(bundle_path: Path, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {
        "DINRANK_REDIS_TIMEOUT_MS": "600000",
        "DINRANK_MAX_WAITING": str(MAX_WAITING),
        "DINRANK_MAX_WAIT_MS": "600000",
    }
    log = tmp_path_factory.mktemp("service") / "log"
    with serving(bundle_path, f"redis://127.0.0.1:{redis.port}", log, **settings) as server:
        yield server


@contextmanager
def standing_still(redis: RedisServer) -> Iterator[None]:
    redis.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        redis.process.send_signal(signal.SIGCONT)


def send(server: Server, **headers: str) -> http.client.HTTPConnection:
    """A ranking request on a connection of its own, whose answer is not waited for."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=ANSWERS_WITHIN_S)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", "/rank", BODY, {"Content-Type": "application/json", **names})
    return connection


def answer(connection: http.client.HTTPConnection) -> tuple[int, dict[str, str], dict[str, object]]:
    response = connection.getresponse()
    document = json.loads(response.read())
    connection.close()
    return response.status, dict(response.getheaders()), document


def rank(server: Server, **headers: str) -> tuple[int, dict[str, str], dict[str, object]]:
    return answer(send(server, **headers))


def metric(server: Server, sample: str) -> float:
    connection = server.connect()
    lines = get(connection, "/metrics").splitlines()
    connection.close()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == sample), 0.0)


def outcomes(server: Server, outcome: str) -> float:
    return metric(server, f'dinrank_requests_total{{outcome="{outcome}"}}')


def wait_for_waiting(server: Server, count: int) -> None:
    wait_until(lambda: metric(server, "dinrank_waiting_requests") == count, f"{count} requests wait")


def test_beyond_capacity_requests_are_refused_at_once_and_the_others_answered(
    server: Server, redis: RedisServer
) -> None:
    with standing_still(redis):
        accepted = [send(server) for _ in range(NUM_PLACES + MAX_WAITING)]
        wait_for_waiting(server, MAX_WAITING)
        status, headers, problem = rank(server)
        assert status == 503
        assert problem["type"] == "urn:dinrank:problem:overloaded"
        assert int(headers["retry-after"]) >= 1
        connection = server.connect()
        assert json.loads(get(connection, "/livez")) == {"status": "alive"}
        connection.close()
    assert {answer(connection)[0] for connection in accepted} == {200}
    assert metric(server, "dinrank_waiting_requests") == 0


def test_callers_who_leave_while_they_wait_make_room(server: Server, redis: RedisServer) -> None:
    abandoned = outcomes(server, "abandoned")
    with standing_still(redis):
        at_work = [send(server) for _ in range(NUM_PLACES)]
        waiting = [send(server) for _ in range(MAX_WAITING)]
        wait_for_waiting(server, MAX_WAITING)
        for connection in waiting:
            connection.close()
        wait_for_waiting(server, 0)
        waiting = [send(server) for _ in range(MAX_WAITING)]
        wait_for_waiting(server, MAX_WAITING)
    assert {answer(connection)[0] for connection in [*at_work, *waiting]} == {200}
    assert outcomes(server, "abandoned") == abandoned + MAX_WAITING


@pytest.mark.parametrize("content_type", ["application/json", "application/vnd.api+json"], ids=["one pass", "route"])
def test_a_request_whose_caller_has_left_is_not_scored(server: Server, redis: RedisServer, content_type: str) -> None:
    scored = 'dinrank_stage_seconds_count{stage="score"}'
    abandoned, scored_before = outcomes(server, "abandoned"), metric(server, scored)
    with standing_still(redis):
        leaving = [send(server, Content_Type=content_type) for _ in range(NUM_PLACES)]
        waiting = send(server)
        wait_for_waiting(server, 1)  # so the others are at work
        theirs = sockets_of(server, leaving)
        assert len(theirs) == NUM_PLACES
        for connection in leaving:
            connection.close()
        wait_until(lambda: not theirs & open_sockets(server), "the service sees that they have left")
    assert answer(waiting)[0] == 200
    wait_until(lambda: outcomes(server, "abandoned") == abandoned + NUM_PLACES, "all are counted as abandoned")
    assert metric(server, scored) == scored_before + 1


def sockets_of(server: Server, connections: list[http.client.HTTPConnection]) -> set[str]:
    """The inodes of the service's ends of connections, by the kernel's table."""
    ports = {f"{connection.sock.getsockname()[1]:04X}" for connection in connections}
    lines = Path(f"/proc/{server.process.pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    columns = (line.split() for line in lines)
    return {each[9] for each in columns if each[1].endswith(f":{server.port:04X}") and each[2].split(":")[1] in ports}


def open_sockets(server: Server) -> set[str]:
    """Of a process; a socket that the kernel has given up is open until its process closes it."""
    found = set()
    for descriptor in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
    return found


def test_redis_gets_no_more_time_than_the_deadline_leaves(server: Server, redis: RedisServer) -> None:
    sample = 'dinrank_store_failures_total{kind="deadline"}'
    before = metric(server, sample)
    with standing_still(redis):
        status, _, document = rank(server, X_Deadline_Ms="2000")
    assert status == 200
    assert document["degraded"] == ["behaviours", "profile"]
    assert metric(server, sample) == before + 1


def test_a_deadline_that_cannot_be_met_is_refused_before_it_costs_anything(server: Server, redis: RedisServer) -> None:
    with standing_still(redis):
        slow = [send(server, X_Deadline_Ms="2000") for _ in range(NUM_PLACES)]
        assert {answer(connection)[0] for connection in slow} == {200}
        # From which is known that places fall free slower than every 50 ms.
        at_work = [send(server) for _ in range(NUM_PLACES + 1)]
        wait_for_waiting(server, 1)
        fetches = metric(server, 'dinrank_stage_seconds_count{stage="store"}')
        status, headers, problem = rank(server, X_Deadline_Ms="50")
        assert metric(server, 'dinrank_stage_seconds_count{stage="store"}') == fetches
    assert {answer(connection)[0] for connection in at_work} == {200}
    assert status == 503
    assert problem["type"] == "urn:dinrank:problem:deadline-too-short"
    assert int(headers["retry-after"]) >= 1


def test_a_malformed_deadline_is_named(server: Server) -> None:
    status, _, problem = rank(server, X_Deadline_Ms="soon")
    assert status == 422
    assert problem["errors"] == [{"field": "X-Deadline-Ms", "message": problem["detail"]}]


def test_at_three_times_what_it_can_do_it_answers_or_refuses_and_stays_healthy(
    server: Server, redis: RedisServer
) -> None:
    """Three times as many callers as places and queue hold, each with a next request as soon as it has an answer."""
    end = time.monotonic() + 1.5
    statuses: list[tuple[int, bool]] = []

    def call() -> None:
        connection = server.connect()
        while time.monotonic() < end:
            connection.request("POST", "/rank", BODY, {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
            statuses.append((response.status, response.getheader("Retry-After") is not None))
        connection.close()

    threads = [threading.Thread(target=call) for _ in range(3 * (NUM_PLACES + MAX_WAITING))]
    for thread in threads:
        thread.start()
    connection = server.connect()
    healths = []
    while time.monotonic() < end:
        for path in ("/livez", "/readyz"):
            healths.append(json.loads(get(connection, path))["status"])
            time.sleep(0.02)
    connection.close()
    for thread in threads:
        thread.join()
    assert set(statuses) == {(200, False), (503, True)}
    assert set(healths) == {"alive", "ready"}
    assert rank(server)[0] == 200
    # After all that happened above: one connection for each place, one for /readyz and one of this test.
    assert len(redis.client.client_list()) <= NUM_PLACES + 2
