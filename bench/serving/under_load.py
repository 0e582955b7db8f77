"""The whole service under load, compared with the others: saturation of each, and latency below it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.harness.load import Order, Outcome
from bench.serving.dataset import Traffic, user_ids
from bench.serving.material import Material, make_material
from bench.serving.networks import repeat_history
from bench.serving.rows import write_rows_network
from bench.serving.servers import (
    ROOT,
    Command,
    Server,
    ServiceFailed,
    bentoml,
    dinrank,
    environment_of,
    litserve,
    naive,
    running,
)
from bench.serving.setting import AGREEMENT, BENTOML, LITSERVE, NAIVE, PLAIN, SEED, TABLE, Effort, Shape
from bench.serving.timing import Disagreement
from dinrank.model.bundle.reader import open_bundle
from dinrank.model.nets.din import DIN
from dinrank.model.nets.names import NetworkName
from dinrank.service.publish import publish
from dinrank.service.store.embedded import embedded_redis

CLOSED_CONNECTIONS = 16
OPEN_CONNECTIONS = 64
_NUM_BODIES = 500
_NUM_CHECKED = 5  # requests whose answers are compared before anything is measured

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Saturation:
    """Throughput of a service with all connections busy.

    Attributes:
        per_second: median of the rounds.
        cpu_ms: CPU time of the service's processes per answer, Redis and the generator not counted; median.
    """

    per_second: float
    cpu_ms: float
    rounds: Sequence[float]
    errors: int
    degraded: int


@dataclass(frozen=True, slots=True)
class Load:
    """Answers at a share of a service's own saturation; percentiles are medians of the rounds, counts are sums."""

    share: float
    rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    sent: int
    errors: int
    degraded: int
    lateness_ms: float
    generator_cpu_share: float


@dataclass(frozen=True, slots=True)
class ServiceResults:
    """Attributes:
    saturations, loads: by service. Loads are measured for some shapes only.
    skipped: reason by service.
    """

    shape: Shape
    saturations: Mapping[str, Saturation]
    loads: Mapping[str, Sequence[Load]]
    skipped: Mapping[str, str] = field(default_factory=dict)


def measure(
    shape: Shape, directory: Path, effort: Effort, *, with_loads: bool, is_poisson: bool, say: Say
) -> ServiceResults:
    """Start all services on one Redis, check that they agree, and load them in turns.

    Raises:
        ServiceFailed, Disagreement
    """
    say(f"{shape}: network, bundle and Redis")
    material = make_material(directory / "material", NetworkName.DIN, shape, max_behaviours=shape.num_behaviours)
    assert isinstance(material.network, DIN)
    rows_network = directory / "rows"
    write_rows_network(rows_network, repeat_history(material.network), material.encoder)
    bodies = directory / "bodies"
    bodies.write_bytes(b"\n".join(make_bodies(_NUM_BODIES)))
    with embedded_redis(directory / "redis") as redis:
        publish(open_bundle(material.bundle), material.data, redis)
        commands, skipped = _commands(material, rows_network, redis, shape)
        with _all_running(commands, bodies, say) as servers:
            check_agreement(servers, bodies.read_bytes().splitlines()[:_NUM_CHECKED])
            saturations = _saturate(servers, bodies, effort, say)
            loads = _load(servers, saturations, bodies, effort, is_poisson, say) if with_loads else {}
    return ServiceResults(shape, saturations, loads, skipped)


def make_bodies(number: int) -> list[bytes]:
    traffic, users = Traffic(seed=SEED + 2), user_ids()
    return [json.dumps(_body(traffic, users)).encode() for _ in range(number)]


def _body(traffic: Traffic, users: Sequence[str]) -> dict[str, Any]:
    candidates = traffic.candidates()
    bids = traffic.bids(len(candidates))
    return {
        "user_id": users[traffic.user()],
        "candidates": [{"ad_id": ad_id, "bid": bid} for ad_id, bid in zip(candidates, bids, strict=True)],
        "context": {"hour": traffic.hour()},
    }


def _commands(
    material: Material, rows_network: Path, redis: str, shape: Shape
) -> tuple[dict[str, Command], dict[str, str]]:
    """Return each service's command, and the reasons for those that cannot be started."""
    commands = {PLAIN: dinrank(material.bundle, redis), NAIVE: naive(rows_network, redis, shape.num_behaviours)}
    skipped = {}
    if material.bundle_with_table is None:
        skipped[TABLE] = "the bundle has no activation table"
    else:
        commands[TABLE] = dinrank(material.bundle_with_table, redis)
    for name, library, command in ((BENTOML, "bentoml", bentoml), (LITSERVE, "litserve", litserve)):
        if (environment_of(library) / "python").exists():
            commands[name] = command(rows_network, redis, shape.num_behaviours)
        else:
            skipped[name] = f"there is no .bench/{library}: `make bench` makes it"
    return commands, skipped


@contextmanager
def _all_running(commands: Mapping[str, Command], bodies: Path, say: Say) -> Iterator[dict[str, Server]]:
    """Run all at once, as idle services cost nothing."""
    body = bodies.read_bytes().partition(b"\n")[0]
    with ExitStack() as stack:
        servers = {}
        for name, command in commands.items():
            say(f"starting {name}")
            servers[name] = stack.enter_context(running(name, command, body))
        yield servers


def check_agreement(servers: Mapping[str, Server], bodies: Sequence[bytes]) -> None:
    """Raises: Disagreement, if a service's CTR of an ad differs from the first service's."""
    for body in bodies:
        answers = {
            name: {ad["ad_id"]: ad["ctr"] for ad in server.rank(body)["ads"]} for name, server in servers.items()
        }
        first, *others = answers
        expected = answers[first]
        for name in others:
            found = answers[name]
            if found.keys() != expected.keys():
                raise Disagreement(f"{name} and {first} rank different ads")
            difference = np.max([abs(ctr - expected[ad]) for ad, ctr in found.items()])
            if not difference <= AGREEMENT:
                raise Disagreement(f"{name} and {first} differ by up to {difference:.2e}; {AGREEMENT:g} is allowed")
        if not np.ptp(list(expected.values())) > 100 * AGREEMENT:
            raise Disagreement("all CTRs are nearly the same: there is nothing to compare")


def _saturate(servers: Mapping[str, Server], bodies: Path, effort: Effort, say: Say) -> dict[str, Saturation]:
    outcomes: dict[str, list[tuple[Outcome, float]]] = {name: [] for name in servers}
    for round_ in range(effort.saturation_rounds):
        for name, server in servers.items():
            say(f"saturation, round {round_ + 1} of {effort.saturation_rounds}: {name}")
            order = Order(
                port=server.port, bodies=str(bodies), connections=CLOSED_CONNECTIONS, seconds=effort.saturation_s
            )
            _send(replace(order, seconds=effort.warm_up_s), server)
            outcomes[name].append(_send(order, server))
    return {
        name: Saturation(
            per_second=median(outcome.per_second for outcome, _ in rounds),
            cpu_ms=median(1e3 * cpu_s / outcome.sent for outcome, cpu_s in rounds),
            rounds=[outcome.per_second for outcome, _ in rounds],
            errors=sum(outcome.errors for outcome, _ in rounds),
            degraded=sum(outcome.degraded for outcome, _ in rounds),
        )
        for name, rounds in outcomes.items()
    }


def _load(
    servers: Mapping[str, Server],
    saturations: Mapping[str, Saturation],
    bodies: Path,
    effort: Effort,
    is_poisson: bool,
    say: Say,
) -> dict[str, list[Load]]:
    loads: dict[str, list[Load]] = {name: [] for name in servers}
    for share in effort.load_shares:
        outcomes: dict[str, list[Outcome]] = {name: [] for name in servers}
        for round_ in range(effort.load_rounds):
            for name, server in servers.items():
                say(f"{share:.0%} of its saturation, round {round_ + 1} of {effort.load_rounds}: {name}")
                order = Order(
                    port=server.port,
                    bodies=str(bodies),
                    connections=OPEN_CONNECTIONS,
                    seconds=effort.load_s,
                    rate=share * saturations[name].per_second,
                    is_poisson=is_poisson,
                )
                outcomes[name].append(_send(order, server)[0])
        for name in servers:
            loads[name].append(summarise_load(share, share * saturations[name].per_second, outcomes[name]))
    return loads


def summarise_load(share: float, rate: float, rounds: Sequence[Outcome]) -> Load:
    p50, p95, p99 = (median(outcome.latencies_ms[name] for outcome in rounds) for name in ("p50", "p95", "p99"))
    return Load(
        share=share,
        rate=rate,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        sent=sum(outcome.sent for outcome in rounds),
        errors=sum(outcome.errors for outcome in rounds),
        degraded=sum(outcome.degraded for outcome in rounds),
        lateness_ms=median(outcome.lateness_ms for outcome in rounds),
        generator_cpu_share=median(outcome.cpu_s / outcome.seconds for outcome in rounds),
    )


def _send(order: Order, server: Server) -> tuple[Outcome, float]:
    """Run the generator; return its outcome and the service's CPU seconds meanwhile.

    Raises:
        ServiceFailed: the generator ended without an answer.
    """
    before = server.cpu_seconds()
    result = subprocess.run(
        [sys.executable, "-m", "bench.harness.load"],
        input=json.dumps(asdict(order)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise ServiceFailed(f"the load on {server.name} broke off:\n{result.stderr}\n{server.log_tail()}")
    return Outcome(**json.loads(result.stdout)), server.cpu_seconds() - before
