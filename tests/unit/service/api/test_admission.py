"""How ranking requests wait, on an application that answers when the test says so."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from dinrank.service.api.admission import CALLER, AdmissionControl
from dinrank.service.api.body import BodyLimit, has_hung_up
from dinrank.service.api.context import RequestContext
from dinrank.service.api.problems import service_problem
from dinrank.service.errors import DeadlineTooShort, Overloaded
from dinrank.service.scoring.admission import Admission
from dinrank.service.telemetry.metrics import Telemetry

pytestmark = pytest.mark.anyio
BODY = b"a body"


class Rehearsal:
    """One place, and an application that holds it until `finish`."""

    def __init__(self, *, max_waiting: int = 1, max_wait_s: float = 60.0) -> None:
        self.telemetry = Telemetry()
        self.admission = Admission(num_places=1, max_waiting=max_waiting, max_wait_s=max_wait_s)
        self.may_finish = asyncio.Semaphore(0)
        self.began: list[str] = []
        self.had_left: list[bool] = []
        self.may_wait_s: list[float] = []
        control = AdmissionControl(self._answer, admission=self.admission, telemetry=self.telemetry)
        self.app = RequestContext(BodyLimit(control, max_body_bytes=100, timeout_ms=60_000), telemetry=self.telemetry)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["body"] == BODY
        self.began.append(scope["state"]["request_id"])
        if (caller := scope["state"].get(CALLER)) is not None:  # other paths have none
            self.may_wait_s.append(caller.may_wait_s)
        await self.may_finish.acquire()
        self.had_left.append(scope["state"][CALLER].has_left())
        scope["state"]["outcome"] = "ok"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    @asynccontextmanager
    async def held(self) -> AsyncIterator["Call"]:
        """One request is at work."""
        call = Call(self, "first")
        await until(lambda: self.began == ["first"])
        yield call
        self.may_finish.release()
        await call.task

    def metric(self, sample: str) -> float:
        lines = self.telemetry.exposition().decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{sample} ")), 0.0)


class Call:
    """A request that was sent."""

    def __init__(self, rehearsal: Rehearsal, name: str, *, path: str = "/rank", deadline_ms: str | None = None) -> None:
        self.sent: list[Message] = []
        self._hung_up = asyncio.Event()
        headers = [(b"x-request-id", name.encode())]
        if deadline_ms is not None:
            headers.append((b"x-deadline-ms", deadline_ms.encode()))
        scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}
        self._unread = [{"type": "http.request", "body": BODY, "more_body": False}]
        self.task = asyncio.create_task(rehearsal.app(scope, self._receive, self._send))

    async def _receive(self) -> Message:
        if self._unread:
            return self._unread.pop()
        await self._hung_up.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    def hang_up(self) -> None:
        self._hung_up.set()

    @property
    def problem(self) -> Any:
        return json.loads(self.sent[1]["body"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


async def test_the_next_begins_when_the_one_before_it_has_its_answer() -> None:
    rehearsal = Rehearsal()
    async with rehearsal.held() as first:
        second = Call(rehearsal, "second")
        await until(lambda: rehearsal.admission.num_waiting == 1)
        assert rehearsal.metric("dinrank_waiting_requests") == 1
        rehearsal.may_finish.release()
        await until(lambda: rehearsal.began == ["first", "second"])
        assert first.sent[0]["status"] == 200
        assert rehearsal.metric("dinrank_waiting_requests") == 0
    await second.task
    assert second.sent[0]["status"] == 200


async def test_one_too_many_is_refused_at_once() -> None:
    rehearsal = Rehearsal(max_waiting=0)
    async with rehearsal.held():
        refused = Call(rehearsal, "refused")
        await refused.task
    assert refused.sent[0]["status"] == 503
    assert refused.headers[b"retry-after"] == b"1"
    assert rehearsal.began == ["first"]
    assert rehearsal.metric('dinrank_requests_total{outcome="overloaded"}') == 1


async def test_a_wait_ends_with_a_refusal_when_it_has_been_too_long() -> None:
    rehearsal = Rehearsal(max_wait_s=0.01)
    async with rehearsal.held():
        refused = Call(rehearsal, "refused")
        await refused.task
        assert rehearsal.admission.num_waiting == 0
    assert refused.problem["type"] == "urn:dinrank:problem:overloaded"
    assert rehearsal.began == ["first"]


async def test_a_wait_ends_with_a_refusal_when_the_deadline_has_come() -> None:
    rehearsal = Rehearsal()
    async with rehearsal.held():
        refused = Call(rehearsal, "refused", deadline_ms="10")
        await refused.task
    assert refused.problem["type"] == "urn:dinrank:problem:deadline-too-short"
    assert rehearsal.metric('dinrank_requests_total{outcome="deadline-too-short"}') == 1


async def test_who_hangs_up_while_waiting_leaves_the_queue_at_once() -> None:
    rehearsal = Rehearsal()
    async with rehearsal.held():
        left = Call(rehearsal, "left")
        await until(lambda: rehearsal.admission.num_waiting == 1)
        left.hang_up()
        await left.task
        assert rehearsal.admission.num_waiting == 0
        assert rehearsal.metric("dinrank_waiting_requests") == 0
    assert left.sent == []
    assert rehearsal.began == ["first"]
    assert rehearsal.metric('dinrank_requests_total{outcome="abandoned"}') == 1


async def test_who_hangs_up_in_the_moment_of_the_place_gives_it_back() -> None:
    rehearsal = Rehearsal()
    async with rehearsal.held():
        left = Call(rehearsal, "left")
        await until(lambda: rehearsal.admission.num_waiting == 1)
        left.hang_up()
        for _ in range(2):
            rehearsal.may_finish.release()
        await left.task
    assert rehearsal.admission.num_at_work == 0


async def test_a_request_cancelled_while_waiting_leaves_the_queue() -> None:
    rehearsal = Rehearsal()
    async with rehearsal.held():
        cancelled = Call(rehearsal, "cancelled")
        await until(lambda: rehearsal.admission.num_waiting == 1)
        cancelled.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled.task
        assert rehearsal.admission.num_waiting == 0


@pytest.mark.parametrize("leaves", [True, False])
async def test_a_request_at_work_knows_whether_its_caller_has_left(leaves: bool) -> None:
    rehearsal = Rehearsal()
    async with rehearsal.held() as first:
        if leaves:
            first.hang_up()
    assert rehearsal.had_left == [leaves]


async def test_the_wait_in_the_queue_is_taken_off_the_longest_wait() -> None:
    rehearsal = Rehearsal(max_wait_s=60.0)
    async with rehearsal.held():
        second = Call(rehearsal, "second")
        await until(lambda: rehearsal.admission.num_waiting == 1)
        rehearsal.may_finish.release()
    await second.task
    without_wait, after_wait = rehearsal.may_wait_s
    assert 0.0 < after_wait < without_wait == 60.0


async def test_a_malformed_deadline_is_a_problem_that_names_the_header() -> None:
    rehearsal = Rehearsal()
    refused = Call(rehearsal, "refused", deadline_ms="soon")
    await refused.task
    assert refused.sent[0]["status"] == 422
    assert refused.problem["errors"][0]["field"] == "X-Deadline-Ms"
    assert (rehearsal.began, rehearsal.admission.num_at_work) == ([], 0)


async def test_other_paths_pass_by() -> None:
    rehearsal = Rehearsal(max_waiting=0)
    async with rehearsal.held():
        other = Call(rehearsal, "other", path="/model")
        await until(lambda: rehearsal.began == ["first", "other"])
        other.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await other.task


@pytest.mark.parametrize("exc", [Overloaded(wait_s=2.5), DeadlineTooShort(wait_s=2.5)])
async def test_a_prepared_refusal_is_the_ordinary_problem(exc: Overloaded | DeadlineTooShort) -> None:
    rehearsal = Rehearsal()

    def refuse(remaining_s: float) -> None:
        raise exc

    rehearsal.admission.arrive = refuse  # type: ignore[method-assign,assignment]
    refused = Call(rehearsal, "r1")
    await refused.task
    scope = {"type": "http", "path": "/rank", "headers": [], "query_string": b"", "state": {"request_id": "r1"}}
    ordinary = service_problem(Request(scope), exc)
    assert refused.sent[0]["status"] == ordinary.status_code
    assert refused.sent[1]["body"] == ordinary.body
    assert refused.headers == dict(ordinary.raw_headers)
    assert refused.headers[b"retry-after"] == b"3"


async def test_asking_whether_somebody_hung_up_leaves_the_news_for_whoever_waits() -> None:
    hung_up = asyncio.Event()

    async def receive() -> Message:
        await hung_up.wait()
        return {"type": "http.disconnect"}

    waiting = asyncio.create_task(receive())
    await asyncio.sleep(0)
    assert not has_hung_up(receive)
    hung_up.set()
    assert has_hung_up(receive)
    assert (await waiting)["type"] == "http.disconnect"
