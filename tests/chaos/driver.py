"""Steady load: requests at fixed times, whatever the service does, and what became of each."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from tests.chaos.beside import beside
from tests.chaos.traffic import Asked, Users, fault_in, requests

OK, DEGRADED = "ok", "degraded"
WRONG = "wrong answer"
LATE = "late"  # answered, but nobody waits any more
SILENT = "no answer"
CUT_OFF = "cut off"  # the connection ended before the answer did
REFUSED = "connection refused"

LATE_AFTER_S = 2.0
_GIVEN_UP_AFTER_S = 10.0
_CONNECTIONS = 32

KEY = "k" * 64  # which most services do not ask for
_HEADERS = {"Content-Type": "application/json", "X-API-Key": KEY}


@dataclass(frozen=True, slots=True)
class Sent:
    """One request and what became of it.

    Attributes:
        at_s: when it was sent, by the monotonic clock.
        outcome: one of those above, or the name of the problem that was answered.
        detail: of a degraded answer what it lacks, of a failure what was seen.
    """

    at_s: float
    duration_s: float
    user_id: str
    outcome: str
    version: str = ""
    detail: str = ""


@dataclass
class Driver:
    """Sends ranking requests from a thread of its own. What it has sent is in `sent`.

    Attributes:
        shifts: see `traffic.fault_in`; changed as bundles come.
        late_after_s: infinite where the machine does other work, so that slowness says nothing of the service.
    """

    port: int
    users: Users
    shifts: dict[str, float]
    rate_per_s: float = 50.0
    late_after_s: float = LATE_AFTER_S
    sent: list[Sent] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send while the block runs; at its end everything sent has its outcome."""
        with beside(lambda over: asyncio.run(self._send_until(over))):
            yield

    def outcomes(self, *, since_s: float = 0.0) -> Counter[str]:
        return Counter(each.outcome for each in self.sent if each.at_s >= since_s)

    async def _send_until(self, over: threading.Event) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=_CONNECTIONS)
        base_url = f"http://127.0.0.1:{self.port}"
        async with (
            httpx.AsyncClient(base_url=base_url, limits=limits, timeout=_GIVEN_UP_AFTER_S) as client,
            asyncio.TaskGroup() as group,
        ):
            due = time.monotonic()
            for asked in requests():
                if over.is_set():
                    return
                group.create_task(self._send(client, asked))
                due += 1.0 / self.rate_per_s
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _send(self, client: httpx.AsyncClient, asked: Asked) -> None:
        at_s = time.monotonic()
        outcome, version, detail = await self._outcome(client, asked)
        duration_s = time.monotonic() - at_s
        if outcome in (OK, DEGRADED) and duration_s > self.late_after_s:
            outcome, detail = LATE, f"{outcome} after {duration_s:.1f} s"
        self.sent.append(Sent(at_s, duration_s, asked.user_id, outcome, version, detail))

    async def _outcome(self, client: httpx.AsyncClient, asked: Asked) -> tuple[str, str, str]:
        """Outcome, model version, detail."""
        try:
            response = await client.post("/rank", content=asked.body(), headers=_HEADERS)
        except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
            return REFUSED, "", repr(exc)
        except httpx.TimeoutException as exc:
            return SILENT, "", repr(exc)
        except httpx.TransportError as exc:
            return CUT_OFF, "", repr(exc)
        if response.status_code != httpx.codes.OK:
            return problem_name(response), "", response.text[:200]
        answer = response.json()
        fault = fault_in(answer, asked, self.users, self.shifts)
        if fault is not None:
            return WRONG, answer["model"]["version"], fault
        return DEGRADED if answer["degraded"] else OK, answer["model"]["version"], ",".join(answer["degraded"])


def problem_name(response: httpx.Response) -> str:
    """The name of an RFC 9457 problem, without the part that all share; the status of anything else."""
    if response.headers.get("content-type") != "application/problem+json":
        return f"status {response.status_code}"
    body: Mapping[str, str] = response.json()
    return body["type"].removeprefix("urn:dinrank:problem:")


def percentile_ms(sent: Sequence[Sent], share: float) -> float:
    """Of the requests that were answered; 0 when there are none."""
    durations = sorted(each.duration_s for each in sent if each.outcome in (OK, DEGRADED, LATE))
    return 1e3 * durations[min(len(durations) - 1, int(share * len(durations)))] if durations else 0.0
