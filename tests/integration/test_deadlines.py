"""Behind scorings that take long every wait has its end: a real process, real sockets, a graph that counts."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bench.harness.processes import Server, get, serving
from tests.fixtures.redis_server import wait_until
from tests.fixtures.slow_bundle import QUICK_UP_TO, bundle_that_is_slow_for_many

MAX_WAIT_MS = 300
LONG = ["1"] * (QUICK_UP_TO + 25)  # takes seconds
SCORED = 'dinrank_stage_seconds_count{stage="score"}'
Answer = tuple[int, dict[str, Any], float]  # status, body, seconds


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, redis_tcp_url: str) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("slow")
    bundle = bundle_that_is_slow_for_many(directory)
    settings = {"DINRANK_MAX_WAIT_MS": str(MAX_WAIT_MS), "DINRANK_REDIS_TIMEOUT_MS": "5000"}
    with serving(bundle, redis_tcp_url, directory / "log", **settings) as server:
        yield server


def rank(server: Server, *ads: str, **headers: str) -> Answer:
    body = json.dumps({"user_id": "42", "candidates": [{"ad_id": ad, "bid": 1.0} for ad in ads]})
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60.0)
    began_s = time.monotonic()
    connection.request("POST", "/rank", body, {"Content-Type": "application/json", **names})
    response = connection.getresponse()
    document = json.loads(response.read())
    connection.close()
    return response.status, document, time.monotonic() - began_s


def metric(server: Server, sample: str) -> float:
    connection = server.connect()
    lines = get(connection, "/metrics").splitlines()
    connection.close()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == sample), 0.0)


@contextmanager
def long_scorings(server: Server, *, count: int) -> Iterator[list[Answer]]:
    """So many are at work or next; what was answered is there after the block."""
    answers: list[Answer] = []
    fetched = 'dinrank_stage_seconds_count{stage="store"}'
    before = metric(server, fetched)
    threads = [threading.Thread(target=lambda: answers.append(rank(server, *LONG))) for _ in range(count)]
    for thread in threads:
        thread.start()
    wait_until(lambda: metric(server, fetched) == before + count, "the long ones have come as far as the scoring")
    yield answers
    for thread in threads:
        thread.join()


def test_a_deadline_holds_behind_long_scorings_and_what_waited_is_not_scored(server: Server) -> None:
    scored = metric(server, SCORED)
    with long_scorings(server, count=1) as answers:
        refused = [rank(server, "1", X_Deadline_Ms="100") for _ in range(4)]
        assert answers == []  # it takes longer than all these waits
    assert [(status, problem["type"]) for status, problem, _ in refused] == [
        (503, "urn:dinrank:problem:deadline-too-short")
    ] * 4
    assert [status for status, _, _ in answers] == [200]
    assert metric(server, SCORED) == scored + 1


def test_a_scoring_that_has_begun_is_given_up_at_the_deadline_and_the_next_one_is_right(server: Server) -> None:
    assert rank(server, "1")[0] == 200  # so an answer may be quick, and deadlines are no hopeless ones
    scored = metric(server, SCORED)
    status, problem, _ = rank(server, *LONG, X_Deadline_Ms="200")
    assert (status, problem["type"]) == (503, "urn:dinrank:problem:deadline-too-short")
    assert metric(server, SCORED) == scored  # it goes on
    wait_until(lambda: metric(server, SCORED) == scored + 1, "the scoring ends")
    status, answer, _ = rank(server, "1", X_Deadline_Ms="20000")
    assert (status, answer["ads"][0]["ad_id"]) == (200, "1")


def test_without_a_deadline_the_wait_for_the_scoring_is_within_the_longest_wait(server: Server) -> None:
    scored = metric(server, SCORED)
    with long_scorings(server, count=1) as answers:
        refused = [rank(server, "1")]
        assert answers == []
        refused.append(rank(server, "1"))
    assert [(status, problem["type"]) for status, problem, _ in refused] == [
        (503, "urn:dinrank:problem:overloaded")
    ] * 2
    assert metric(server, SCORED) == scored + 1


def test_the_loop_answers_while_everything_waits(server: Server) -> None:
    with long_scorings(server, count=1) as answers:
        connection = server.connect()
        assert json.loads(get(connection, "/livez")) == {"status": "alive"}
        connection.close()
        assert answers == []
