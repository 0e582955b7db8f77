"""What Redis can do to the service."""

import itertools
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpx
import redis
from redis.crc import key_slot

from dinrank.service.store.layout import behaviours_key, events_key
from tests.chaos.beside import beside
from tests.chaos.driver import DEGRADED
from tests.chaos.fault import Fault
from tests.chaos.ground import HOST, LOWER_SLOTS, Ground, Topology, wait_until

_DEGRADED = frozenset({DEGRADED})
_LATE_USER, _LONG = "late", 10_000  # behaviours
_DEGRADED_ANSWERS = 'dinrank_degraded_answers_total{part="behaviours"}'


@contextmanager
def _degraded_counted(ground: Ground) -> Iterator[None]:
    """While the block runs, some answers are degraded, and the counter says so."""
    before = ground.service.metric(_DEGRADED_ANSWERS)
    yield
    ground.expect(ground.service.metric(_DEGRADED_ANSWERS) > before, "the counter of degraded answers moves")


@contextmanager
def _gone(ground: Ground) -> Iterator[None]:
    [server] = ground.redis
    with _degraded_counted(ground):
        server.kill()
        yield
    ready = ground.service.get("/readyz")
    ground.expect(
        ready.status_code == 200 and ready.json()["feature_store"] == "unavailable", "/readyz says that Redis is away"
    )
    server.start()


@contextmanager
def _restarting(ground: Ground) -> Iterator[None]:
    [server] = ground.redis
    with _repeated(lambda: (server.kill(), server.start()), every_s=0.7):
        yield


@contextmanager
def _silent(ground: Ground) -> Iterator[None]:
    [server] = ground.redis
    with _degraded_counted(ground):
        server.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            server.signal(signal.SIGCONT)


@contextmanager
def _slow(ground: Ground) -> Iterator[None]:
    """Each second it answers nobody for 0.4 s, which is longer than a request waits."""
    [server] = ground.redis
    with _repeated(lambda: server.client.execute_command("DEBUG", "SLEEP", "0.4"), every_s=1.0):
        yield


@contextmanager
def _hanging_up(ground: Ground) -> Iterator[None]:
    [server] = ground.redis
    with _repeated(lambda: server.client.client_kill_filter(_type="normal", skipme=True), every_s=0.1):
        yield


@contextmanager
def _out_of_memory(ground: Ground) -> Iterator[None]:
    [server] = ground.redis
    server.client.config_set("maxmemory", 1)
    try:
        with suppress(redis.exceptions.OutOfMemoryError):
            server.client.set("one more", "value")
            ground.expect(False, "Redis is out of memory")
        yield
    finally:
        server.client.config_set("maxmemory", 0)


@contextmanager
def _read_only(ground: Ground) -> Iterator[None]:
    """It becomes the replica of a primary that is away, as after a fail-over that went wrong."""
    [server] = ground.redis
    server.client.replicaof("127.0.0.1", "1")
    try:
        with suppress(redis.exceptions.ReadOnlyError):
            server.client.set("one more", "value")
            ground.expect(False, "Redis is read-only")
        yield
    finally:
        server.client.replicaof("NO", "ONE")


@contextmanager
def _wrong_password(ground: Ground) -> Iterator[None]:
    [server] = ground.redis
    admin = redis.Redis(port=server.port, password="changed", retry=None, protocol=2)
    with _degraded_counted(ground), admin:
        server.client.config_set("requirepass", "changed")
        admin.client_kill_filter(_type="normal", skipme=True)
        try:
            yield
        finally:
            admin.config_set("requirepass", "")


@contextmanager
def _wrong_types(ground: Ground) -> Iterator[None]:
    """Some keys hold something else: their users have no history, and nobody else notices."""
    [server] = ground.redis
    spoilt = list(ground.users.histories)[:10]
    for user_id in spoilt:
        ground.users.others[user_id].add(())
        server.client.set(behaviours_key(user_id), "no list")
    with _left_out_counted(ground):
        yield
    server.client.delete(*map(behaviours_key, spoilt))
    ground.publish()


@contextmanager
def _malformed(ground: Ground) -> Iterator[None]:
    """What is no behaviour is left out, and the others stand."""
    [server] = ground.redis
    spoilt = list(ground.users.histories)[10:20]
    for user_id in spoilt:
        # The newest five elements are read, and two of them are none.
        ground.users.others[user_id].add(ground.users.histories[user_id][-3:])
        server.client.lpush(behaviours_key(user_id), b"\xff{", b'{"item_id": 9e999, "timestamp": 9223372036854775808}')
    with _left_out_counted(ground):
        yield
    for user_id in spoilt:
        server.client.lpop(behaviours_key(user_id), 2)


@contextmanager
def _left_out_counted(ground: Ground) -> Iterator[None]:
    before = ground.service.metric("dinrank_malformed_elements_total")
    yield
    after = ground.service.metric("dinrank_malformed_elements_total")
    ground.expect(after > before, "what was left out is counted")


@contextmanager
def _fail_over(ground: Ground) -> Iterator[None]:
    """The primary dies; the Sentinels make the replica the new one."""
    primary, replica = ground.redis
    with _degraded_counted(ground):
        primary.kill()
        yield
        wait_until(lambda: replica.client.info("replication")["role"] == "master", "the replica is the primary")


@contextmanager
def _half_gone(ground: Ground) -> Iterator[None]:
    """One of two nodes dies, the one that redis-py asks first: the users of the other one keep their histories."""
    lower, _ = ground.redis
    on_the_other = {user_id for user_id in ground.users.histories if key_slot(behaviours_key(user_id)) >= LOWER_SLOTS}
    ground.expect(0 < len(on_the_other) < len(ground.users.histories), "both nodes have users")
    first = len(ground.driver.sent)
    with _degraded_counted(ground):
        lower.kill()
        yield
    lost = [each for each in ground.driver.sent[first:] if "behaviours" in each.detail]
    wronged = sum(each.user_id in on_the_other for each in lost)
    # redis-py hangs up on all nodes when one fails, so that some requests to the living one fail with it.
    ground.expect(wronged * 10 <= len(lost), f"the living node's users lose next to nothing: {wronged} of {len(lost)}")
    lower.start()


@contextmanager
def _late_events(ground: Ground) -> Iterator[None]:
    """Callers send late behaviours of a user with 10,000, whose elements are alike, a thousand at a time."""
    [server] = ground.redis
    for start in range(0, _LONG, 1_000):
        places = range(start, start + 1_000)
        server.client.lpush(behaviours_key(_LATE_USER), *(_alike(2 * place) for place in places))
        server.client.zadd(events_key(_LATE_USER), {f"stored {place}": 2 * place for place in places})
    numbers = itertools.count()
    outcomes: Counter[int] = Counter()

    def send() -> None:
        number = next(numbers)
        events = [
            {
                "event_id": f"late {number} {place}",
                "user_id": _LATE_USER,
                "item_id": "brand new",
                "timestamp": 2 * random.randrange(1_000, _LONG) + 1,
            }
            for place in range(1_000)
        ]
        answer = httpx.post(f"http://{HOST}:{ground.service.port}/behaviours", json={"events": events}, timeout=60.0)
        outcomes[answer.status_code] += 1

    with _repeated(send, every_s=0.05), _repeated(send, every_s=0.05):
        yield
    ground.expect(outcomes.keys() == {httpx.codes.OK}, f"late behaviours are taken, and not: {outcomes}")


def _alike(place: int) -> bytes:
    """Lua takes long to tell these apart."""
    return b'{"item_id":"%08d","timestamp":%d,"genre":["%s"]}' % (place, place, b"x" * 2_000)


@contextmanager
def _repeated(act: Callable[[], object], *, every_s: float) -> Iterator[None]:
    """Do it again and again in a thread while the block runs."""

    def again(over: threading.Event) -> None:
        while not over.wait(every_s):
            with suppress(redis.RedisError):
                act()

    with beside(again):
        yield


REDIS_FAULTS = (
    Fault("Redis gone, then back", _gone, promised=_DEGRADED, quick=True),
    Fault("Redis silent", _silent, promised=_DEGRADED),
    Fault("Redis slow now and then", _slow, promised=_DEGRADED),
    Fault("Redis killed and restarted again and again", _restarting, promised=_DEGRADED),
    Fault("Redis hangs up on everybody", _hanging_up, promised=_DEGRADED),
    Fault("Redis out of memory", _out_of_memory, lasts_s=2.0),
    Fault("Redis a read-only replica", _read_only, lasts_s=2.0),
    Fault("Redis wants another password", _wrong_password, promised=_DEGRADED),
    Fault("keys of the wrong type", _wrong_types, lasts_s=2.0),
    Fault("malformed behaviours", _malformed, lasts_s=2.0),
    Fault("late behaviours for a long history", _late_events),
    Fault("Sentinel fail-over", _fail_over, Topology.SENTINEL, promised=_DEGRADED, lasts_s=6.0, recovery_s=10.0),
    Fault("half of a cluster gone, then back", _half_gone, Topology.CLUSTER, promised=_DEGRADED, recovery_s=10.0),
)
