"""A server at Redis's port that replies what Redis never does: nothing of it is used, and nothing else goes wrong."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dinrank.service.errors import FeatureStoreUnavailable, StoreFailure
from dinrank.service.store import connection as store_connection
from dinrank.service.store import user_data
from dinrank.service.store.behaviour_writer import BehaviourEvent, BehaviourWriter
from dinrank.service.store.breaker import Breaker
from dinrank.service.store.breaker_store import BreakerStore
from dinrank.service.store.connection import RedisConnection, connect
from dinrank.service.store.inspection import look_at_servers, sample_users
from dinrank.service.store.redis_store import RedisFeatureStore
from dinrank.service.store.redis_writer import RedisFeatureWriter, TimedBehaviour, UserRecord
from dinrank.service.store.stream import BehaviourStream, Entry, RefusedEntry
from dinrank.service.store.user_data import UserDataStore
from tests.contract.test_feature_store import SCHEMA
from tests.fixtures.hostile_redis import HostileRedis, hostile_redis

TIMEOUT_MS = 40  # what is cut off in the middle takes so long
USER_FEATURES: Mapping[str, Any] = {}

property_settings = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(text), text)


def array(parts: Sequence[bytes], kind: bytes = b"*") -> bytes:
    return b"%s%d\r\n%s" % (kind, len(parts), b"".join(parts))


def pairs(parts: Sequence[bytes]) -> bytes:
    return b"%%%d\r\n%s" % (len(parts) // 2, b"".join(parts[: len(parts) // 2 * 2]))


DEEP = b'{"item_id":"1","timestamp":1,"x":' + b"[" * 900 + b"]" * 900 + b"}"
TEXTS = [
    b"",
    b"1",
    b"0-1",
    b"age",
    b"item_id",
    b"\xff\xfe",
    b"{u:1}:behaviours",
    b'{"item_id":"1","timestamp":1}',
    b'{"item_id":"1","item_id":["2"]}',
    b'{"item_id":1e400}',
    b'{"item_id":' + b"9" * 400 + b"}",
    b'{"item_id":NaN}',
    b'{"item_id":"\\ud800"}',
    b'{"item_id":"\xed\xa0\x80"}',
    b'{"item_id":true,"timestamp":{}}',
    b"[]",
    DEEP,
]
ERRORS = [
    b"WRONGTYPE Operation against a key",
    b"ERR unknown command",
    b"NOSCRIPT No matching script",
    b"MOVED 1 127.0.0.1:1",
    b"MOVED",
    b"ASK x y",
    b"LOADING Redis is loading",
    b"NOPERM",
    b"NOGROUP",
    b"",
    b"\xff\xfe \r",
    b"ERR " + b"long " * 10_000,
]
scalars = st.one_of(
    st.sampled_from(TEXTS).map(bulk),
    st.sampled_from([b":0\r\n", b":1\r\n", b":-1\r\n", b":9223372036854775807\r\n", b":x\r\n"]),
    st.sampled_from([b"+OK\r\n", b"+PONG\r\n", b"+\r\n", b"$-1\r\n", b"*-1\r\n", b"_\r\n", b"#t\r\n", b"#f\r\n"]),
    st.sampled_from([b",1.5\r\n", b",nan\r\n", b",inf\r\n", b"(123456789012345678901\r\n", b"=7\r\ntxt:abc\r\n"]),
    st.sampled_from(ERRORS).map(lambda text: b"-" + text + b"\r\n"),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5).map(array),
        st.lists(inner, max_size=6).map(pairs),
        st.lists(inner, max_size=4).map(lambda parts: array(parts, b"~")),
        st.lists(inner, min_size=1, max_size=4).map(lambda parts: array(parts, b">")),
    ),
    max_leaves=12,
)
broken = st.sampled_from(
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"*5\r\n:1\r\n", b"$9999999999\r\n", b"$-2\r\n", b"*-7\r\n", b"?\r\n"]
)
twice = st.tuples(values, values).map(b"".join)
replies = st.lists(st.one_of(values, values, values, twice, broken), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def server() -> Iterator[HostileRedis]:
    with hostile_redis() as server:
        yield server


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a walk through all keys has seconds for a step."""
    monkeypatch.setattr(store_connection, "_SHORTEST_STEP_TIMEOUT_S", TIMEOUT_MS / 1_000)
    monkeypatch.setattr(user_data, "_LONGEST_LOOK_S", TIMEOUT_MS / 1_000)


async def _rank(connection: RedisConnection) -> None:
    breaker = Breaker(failures=1_000, open_s=1.0, timeout_s=1.0, announce=lambda *told: None)
    store = BreakerStore(RedisFeatureStore(connection, SCHEMA), breaker)
    found = await store.fetch("1", max_behaviours=5, new_ads=["new"])
    assert len(found.behaviours) <= 5
    await store.fetch_ads(["new"])


async def _ping(connection: RedisConnection) -> None:
    await connection.ping()


async def _read_user(connection: RedisConnection) -> None:
    found = await UserDataStore(connection).read("1", USER_FEATURES)
    if found is not None:
        json.loads(b"[" + b",".join(found.behaviours) + b"]")
        assert min(found.num_behaviours, found.num_malformed) >= 0


async def _remove_user(connection: RedisConnection) -> None:
    await UserDataStore(connection).remove("1")


async def _list_users(connection: RedisConnection) -> None:
    assert all(isinstance(user_id, str) for user_id in await UserDataStore(connection).some_ids(3))


async def _write_events(connection: RedisConnection) -> None:
    events = [BehaviourEvent(f"e{number}", "1", number, b"{}") for number in range(3)]
    counts = await BehaviourWriter(connection, max_stored=10).write(events, max_behaviours=5)
    assert counts.total == len(events)


async def _publish(connection: RedisConnection) -> None:
    writer = RedisFeatureWriter(connection, SCHEMA)
    await writer.write_users([UserRecord("1", [TimedBehaviour("1", 1.0, {})], {})])
    await writer.write_ads({"1": {}})


async def _consume(connection: RedisConnection) -> None:
    stream = BehaviourStream(connection, stream="s", group="g", consumer="c")
    await stream.join()
    for entry in [*await stream.read_new(5, block_ms=1), *await stream.read_own(5)]:
        assert entry.age_s() >= 0.0
    await stream.acknowledge([Entry(b"0-1", None)])
    await stream.set_aside([RefusedEntry(Entry(b"0-1", None), "why")])


async def _inspect(connection: RedisConnection) -> None:
    await look_at_servers(connection)
    await sample_users(connection, SCHEMA)


CALLS: Sequence[Callable[[RedisConnection], Awaitable[None]]] = [
    _rank,
    _ping,
    _read_user,
    _remove_user,
    _list_users,
    _write_events,
    _publish,
    _consume,
    _inspect,
]


def reply_in_turn(server: HostileRedis, said: Sequence[bytes]) -> None:
    """Each command gets the next of these, and from the beginning again."""
    count = 0

    def reply(command: Sequence[bytes]) -> bytes:
        nonlocal count
        count += 1
        return said[(count - 1) % len(said)]

    server.reply = reply


def outcome(server: HostileRedis, call: Callable[[RedisConnection], Awaitable[None]]) -> FeatureStoreUnavailable | None:
    async def once() -> None:
        connection = connect(server.url, timeout_ms=TIMEOUT_MS, max_connections=2)
        try:
            await call(connection)
        finally:
            await connection.aclose()

    try:
        asyncio.run(once())
    except FeatureStoreUnavailable as exc:
        return exc
    return None


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__.strip("_"))
@property_settings
@given(replies)
@example([b":0\r\n"])
@example([b"-MOVED\r\n"])
@example([array([array([bulk(b"s"), array([array([bulk(b"x"), b"*0\r\n"])])])])])
def test_whatever_is_replied_is_read_or_refused(
    server: HostileRedis, call: Callable[[RedisConnection], Awaitable[None]], said: list[bytes]
) -> None:
    reply_in_turn(server, said)
    failure = outcome(server, call)
    if failure is not None:
        assert failure.kind in set(StoreFailure) - {StoreFailure.DEADLINE, StoreFailure.BREAKER}
        assert len(str(failure)) < 500


WRONG = {
    "a number": b":7\r\n",
    "nothing": b"$-1\r\n",
    "no list": b"*-1\r\n",
    "text": bulk(b"text"),
    "numbers": array([b":1\r\n", b":2\r\n"]),
    "lists in a list": array([array([bulk(b"a")]), array([bulk(b"b")])]),
    "an odd hash": array([bulk(b"a"), bulk(b"1"), bulk(b"b")]),
    "an error within": array([b"-ERR inside\r\n", bulk(b"a")]),
    "true": b"#t\r\n",
    "false": b"#f\r\n",
    "null": b"_\r\n",
    "a fraction": b",1.5\r\n",
    "a map": pairs([bulk(b"a"), bulk(b"b")]),
    "a map of lists": pairs([b"*0\r\n", b"*0\r\n"]),
    "errors in a map": pairs([b"-MOVED\r\n", b"-MOVED\r\n"]),
    "another protocol": b"HTTP/1.1 200 OK\r\n\r\n",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_reply_of_another_type_is_no_answer(server: HostileRedis, wrong: str) -> None:
    """To HGETALL: an empty hash would be a full answer without a profile."""

    def reply(command: Sequence[bytes]) -> bytes:
        return WRONG[wrong] if command[0] == b"HGETALL" else b"*0\r\n"

    server.reply = reply
    failure = outcome(server, _rank)
    assert failure is not None
    assert failure.kind is StoreFailure.MALFORMED


@pytest.mark.parametrize(
    "said",
    [[array([bulk(b"{}")] * 6), b"*0\r\n", b"*0\r\n"], [b"*0\r\n", b"*0\r\n", b"*0\r\n" + b"*0\r\n"]],
    ids=["more elements than asked for", "more replies than commands"],
)
def test_more_than_was_asked_for_is_no_answer(server: HostileRedis, said: list[bytes]) -> None:
    reply_in_turn(server, said)
    failure = outcome(server, _rank)
    assert failure is not None
    assert failure.kind is StoreFailure.MALFORMED


def test_after_a_malformed_reply_the_next_request_has_a_connection_of_its_own(server: HostileRedis) -> None:
    """What the old one still holds belongs to nobody."""
    profile = array([bulk(b"gender"), bulk(b"somebody else's")])

    async def scenario() -> Mapping[str, Any]:
        connection = connect(server.url, timeout_ms=5_000, max_connections=1)
        store = RedisFeatureStore(connection, SCHEMA)
        try:
            reply_in_turn(server, [b":1\r\n", profile + profile + profile])
            with pytest.raises(FeatureStoreUnavailable):
                await store.fetch("1", max_behaviours=5, new_ads=[])
            reply_in_turn(server, [b"*0\r\n"])
            return (await store.fetch("2", max_behaviours=5, new_ads=[])).profile
        finally:
            await connection.aclose()

    assert asyncio.run(scenario()) == {}


def test_a_handshake_with_anything_else_is_a_failure_of_the_store(server: HostileRedis) -> None:
    server.reply = lambda command: b"*0\r\n"
    url = f"{server.url}/3"  # so there is a SELECT
    for said in [*WRONG.values(), b"-MOVED\r\n"]:
        server.in_handshake = lambda command, said=said: said  # type: ignore[misc]  # a default is not in the type

        async def once() -> None:
            connection = connect(url, timeout_ms=TIMEOUT_MS, max_connections=1)
            try:
                await RedisFeatureStore(connection, SCHEMA).fetch("1", max_behaviours=5, new_ads=[])
            finally:
                await connection.aclose()

        with pytest.raises(FeatureStoreUnavailable):
            asyncio.run(once())
    server.in_handshake = lambda command: b"+OK\r\n"


@pytest.mark.parametrize("scheme", ["redis+cluster", "redis+sentinel"])
def test_a_cluster_or_a_sentinel_that_is_none_is_a_failure_of_the_store(server: HostileRedis, scheme: str) -> None:
    url = server.url.replace("redis://", f"{scheme}://") + ("/service" if "sentinel" in scheme else "")

    async def once() -> None:
        connection = connect(url, timeout_ms=TIMEOUT_MS, max_connections=1)
        try:
            await RedisFeatureStore(connection, SCHEMA).fetch("1", max_behaviours=5, new_ads=[])
        finally:
            await connection.aclose()

    for said in WRONG.values():
        server.reply = lambda command, said=said: said  # type: ignore[misc]  # a default is not in the type
        with pytest.raises(FeatureStoreUnavailable):
            asyncio.run(once())
