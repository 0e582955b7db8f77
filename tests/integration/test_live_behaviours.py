"""Behaviours that come in live, into a real Redis: what its lists then hold, beside a second implementation."""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from dinrank.service.errors import FeatureStoreUnavailable
from dinrank.service.store import behaviour_writer
from dinrank.service.store.behaviour_writer import BehaviourEvent, BehaviourWriter, EventCounts
from dinrank.service.store.connection import connect
from dinrank.service.store.layout import encode_behaviour
from dinrank.service.store.redis_writer import RedisFeatureWriter, TimedBehaviour, UserRecord
from dinrank.service.store.scripts import ADD_EVENTS, Script, run_script
from tests.contract.test_feature_store import SCHEMA
from tests.fixtures.redis_server import RedisServer

MAX_STORED = 6
assert SCHEMA.max_behaviours < MAX_STORED

# Redis outlives an example on purpose.
property_settings = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def event(event_id: str, timestamp: float, *, user_id: str = "42") -> BehaviourEvent:
    """Of an item that is called like the event."""
    return BehaviourEvent(event_id, user_id, timestamp, encode_behaviour(event_id, timestamp))


class Store:
    """Both writers, called one after the other, and what is then in the lists."""

    def __init__(self, url: str, server: RedisServer, runner: asyncio.Runner) -> None:
        self.client = server.client
        self._runner = runner
        self._connection = connect(url, timeout_ms=10_000, max_connections=2)
        self._live = BehaviourWriter(self._connection, max_stored=MAX_STORED)
        self._publisher = RedisFeatureWriter(self._connection, SCHEMA, max_stored=MAX_STORED)

    def add(self, *events: BehaviourEvent) -> EventCounts:
        return self._runner.run(self._live.write(events, max_behaviours=SCHEMA.max_behaviours))

    def publish(self, *behaviours: tuple[str, float], user_id: str = "42") -> None:
        """Behaviours oldest first."""
        timed = [TimedBehaviour(item_id, timestamp, {}) for item_id, timestamp in behaviours]
        self._runner.run(self._publisher.write_users([UserRecord(user_id, timed, {"gender": "f"})]))

    def items(self, user_id: str = "42") -> list[str]:
        """Newest first."""
        return [json.loads(element)["item_id"] for element in self.client.lrange(f"{{u:{user_id}}}:behaviours", 0, -1)]

    def close(self) -> None:
        self._runner.run(self._connection.aclose())


@pytest.fixture(scope="module")
def store(redis_url: str, redis_server: RedisServer) -> Iterator[Store]:
    with asyncio.Runner() as runner:
        store = Store(redis_url, redis_server, runner)
        yield store
        store.close()


def expected_items(events: Mapping[str, float], published: Sequence[tuple[str, float]]) -> list[str]:
    """The second implementation: newest first, by sorting."""
    horizon = max((timestamp for _, timestamp in published), default=float("-inf"))
    other_unit = 100 * horizon if horizon >= 1e8 else float("inf")
    live = sorted(
        ((timestamp, id_.encode()) for id_, timestamp in events.items() if horizon < timestamp < other_unit),
        reverse=True,
    )
    newest_first = [id_.decode() for _, id_ in live] + [item_id for item_id, _ in reversed(published)]
    return newest_first[:MAX_STORED]


event_ids = st.text(st.sampled_from(["a", "b", "é", "}", "\x00", "😀"]), min_size=1, max_size=3)
timestamps = st.sampled_from(
    [-1.5, 0, 0.1, 0.30000000000000004, 1, 2, 3, 1e9, 9.999999999e9, 1e10, 2.5e10, 2**53, 8.9e18]
)
event_sets = st.dictionaries(event_ids, timestamps, max_size=14)
publishings = st.lists(st.sampled_from([-2, 0, 0.1, 1, 2, 1e8, 2.5e8]), max_size=SCHEMA.max_behaviours).map(
    lambda times: [(f"published {place}", timestamp) for place, timestamp in enumerate(sorted(times))]
)


@pytest.fixture(params=["merged", "each in its place", "one a call"])
def any_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script has two ways to bring late events in, for those near the front and for others, and the writer cuts
    what is too much for one call; lists are short here.
    """
    if request.param == "merged":
        return
    script = Script(re.sub(r"most_moved, many_to_move = \d+", "most_moved, many_to_move = 0", ADD_EVENTS.text))
    assert script != ADD_EVENTS
    monkeypatch.setattr(behaviour_writer, "ADD_EVENTS", script)
    if request.param == "one a call":
        monkeypatch.setattr(behaviour_writer, "_QUICK_WORK", 0)
        monkeypatch.setattr(behaviour_writer, "_LONG_WORK", 0)


@pytest.mark.usefixtures("any_way")
@property_settings
@given(event_sets, publishings, st.data())
def test_a_list_depends_on_events_and_publishing_and_not_on_order_batches_or_repetition(
    store: Store, events: dict[str, float], published: list[tuple[str, float]], data: st.DataObject
) -> None:
    # Before anything is published no unit is told, so a crowd in another unit pushes the oldest out, for good.
    horizon = max((timestamp for _, timestamp in published), default=0.0)
    is_mixed = horizon >= 1e8 and any(timestamp >= 100 * horizon for timestamp in events.values())
    assume(not is_mixed or len(events) <= MAX_STORED)
    store.client.flushall()
    every = [event(id_, timestamp) for id_, timestamp in events.items()]
    repeated = data.draw(st.lists(st.sampled_from(every), max_size=8)) if every else []
    order = data.draw(st.permutations([*every, *repeated]))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(order)), max_size=4)) | {0, len(order)})
    batches: list[list[BehaviourEvent] | None] = [order[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
    for place in data.draw(st.lists(st.integers(0, len(batches)), max_size=2)):
        batches.insert(place, None)
    is_published = None in batches
    for batch in batches:
        if batch is None:
            store.publish(*published)
        else:
            counts = store.add(*batch)
            assert counts.total == len(batch)
    expected = expected_items(events, published if is_published else [])
    assert store.items() == expected
    again = store.add(*every)
    assert (store.items(), again.accepted) == (expected, 0)


@property_settings
@given(st.lists(st.one_of(st.tuples(event_ids, timestamps), publishings), max_size=12))
def test_any_story_of_events_and_publishings_ends_as_a_plain_program_has_it(store: Store, story: list[Any]) -> None:
    """Here the datasets go back in time too, and what was refused under one stays refused under the next."""
    store.client.flushall()
    known: dict[str, float] = {}
    published: list[tuple[str, float]] = []
    for step in story:
        if isinstance(step, tuple):
            event_id, timestamp = step
            store.add(event(event_id, timestamp))
            if event_id not in known:
                known[event_id] = timestamp
        else:
            store.publish(*step)
            published = step
        kept = expected_items(known, published)
        known = {id_: timestamp for id_, timestamp in known.items() if id_ in kept}
    assert store.items() == expected_items(known, published)


def test_what_becomes_of_events_is_counted(store: Store) -> None:
    store.publish(("a", 10), ("b", 20))
    sent = [event("new", 21), event("same time", 20), event("earlier", 15), event("new", 21)]
    assert store.add(*sent) == EventCounts(accepted=1, duplicates=1, too_old=2)
    assert store.items() == ["new", "b", "a"]


def test_milliseconds_among_seconds_are_refused(store: Store) -> None:
    store.publish(("a", 1.7e9))
    sent = [event("seconds", 1.8e9), event("milliseconds", 1.8e12), event("just in it", 1.7e11 - 1)]
    assert store.add(*sent) == EventCounts(accepted=2, other_unit=1)
    assert store.items() == ["just in it", "seconds", "a"]
    assert store.add(sent[1]) == EventCounts(other_unit=1)  # it is not known by its id


def test_where_timestamps_are_no_clock_no_unit_is_told(store: Store) -> None:
    store.publish(("a", 99_999_999))
    assert store.add(event("later", 1.8e12)) == EventCounts(accepted=1)


def test_publishing_removes_what_is_in_another_unit(store: Store) -> None:
    """Of a user of whom nothing was published when it came."""
    assert store.add(event("milliseconds", 1.8e12), event("seconds", 1.8e9)) == EventCounts(accepted=2)
    store.publish(("a", 1.7e9))
    assert store.items() == ["seconds", "a"]
    assert store.add(event("more", 1.81e9)) == EventCounts(accepted=1)
    assert store.items() == ["more", "seconds", "a"]


def test_a_dataset_may_come_in_another_unit_than_before(store: Store) -> None:
    store.publish(("a", 1.7e12))
    assert store.add(event("then", 1.8e12)) == EventCounts(accepted=1)
    store.publish(("a", 1.7e9))
    assert store.items() == ["a"]
    assert store.add(event("now", 1.8e9)) == EventCounts(accepted=1)
    assert store.items() == ["now", "a"]


def test_a_full_list_refuses_what_is_older_than_all_that_it_keeps(store: Store) -> None:
    assert store.add(*(event(f"e{time}", time) for time in range(10, 20))) == EventCounts(accepted=6, too_old=4)
    assert store.add(event("e13", 13)) == EventCounts(too_old=1)
    assert store.add(event("e15", 15)) == EventCounts(duplicates=1)
    assert store.items() == ["e19", "e18", "e17", "e16", "e15", "e14"]
    assert store.client.zcard("{u:42}:events") == MAX_STORED


def test_live_behaviours_may_fill_a_list_and_what_was_published_stays_refused(store: Store) -> None:
    store.publish(("p", 10))
    newer = [event(f"e{time}", time) for time in range(11, 11 + MAX_STORED)]
    assert store.add(*newer) == EventCounts(accepted=MAX_STORED)
    assert store.items() == [f"e{time}" for time in range(10 + MAX_STORED, 10, -1)]
    assert store.add(event("again", 10), newer[0]) == EventCounts(duplicates=1, too_old=1)


def test_simultaneous_events_stand_in_the_order_of_their_ids(store: Store) -> None:
    store.add(event("b", 5))
    store.add(event("c", 5), event("a", 5))
    assert store.items() == ["c", "b", "a"]


def test_an_element_is_spelled_as_the_publisher_spells_it(store: Store) -> None:
    store.add(event("7", 978300760))
    assert store.client.lrange("{u:42}:behaviours", 0, -1) == [b'{"item_id":"7","timestamp":978300760}']


def test_newer_live_behaviours_survive_a_publishing_and_older_ones_go(store: Store) -> None:
    store.add(event("old", 5), event("new", 15))
    store.publish(("p", 10))
    assert store.items() == ["new", "p"]
    assert store.add(event("old", 5)) == EventCounts(too_old=1)


def test_a_user_whose_published_behaviours_are_gone_keeps_the_live_ones(store: Store) -> None:
    store.publish(("p", 10))
    store.add(event("new", 15))
    store.publish()
    assert store.items() == ["new"]


def test_a_user_without_live_behaviours_costs_no_second_key(store: Store) -> None:
    store.add(event("old", 5))
    store.publish(("p", 10))
    assert {key for key in store.client.keys("*") if key.endswith(b"events")} == set()


def test_of_events_with_one_id_the_first_that_comes_counts(store: Store) -> None:
    first, other = event("a", 5), BehaviourEvent("a", "42", 9, encode_behaviour("other", 9))
    assert store.add(first, event("b", 6), other) == EventCounts(accepted=2, duplicates=1)
    assert store.items() == ["b", "a"]
    assert store.add(other) == EventCounts(duplicates=1)


def test_a_profile_of_another_type_is_replaced_by_a_publishing(store: Store) -> None:
    store.client.set("{u:42}:profile", "text")
    store.publish(("p", 1))
    assert store.items() == ["p"]
    assert store.client.hgetall("{u:42}:profile") == {b"gender": b"f"}


@pytest.mark.parametrize("key", ["{u:42}:behaviours", "{u:42}:events"])
def test_a_key_of_another_type_is_replaced(store: Store, key: str) -> None:
    store.client.set(key, "text")
    assert store.add(event("a", 5)).accepted == 1
    assert store.items() == ["a"]
    store.client.set(key, "text")
    store.publish(("p", 1))
    assert store.items()[-1:] == ["p"]


def test_a_list_that_was_removed_begins_anew(store: Store) -> None:
    store.add(event("a", 5), event("b", 6))
    store.client.delete("{u:42}:behaviours")
    assert store.add(event("c", 4), event("a", 5)) == EventCounts(accepted=2)
    assert store.items() == ["a", "c"]


def test_redis_without_memory_refuses_events_and_changes_nothing(store: Store, redis_server: RedisServer) -> None:
    store.add(event("a", 5), event("c", 7))
    redis_server.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(FeatureStoreUnavailable, match="OOM"):
            store.add(event("b", 6))
        with pytest.raises(FeatureStoreUnavailable, match="OOM"):
            store.publish(("p", 6))
    finally:
        redis_server.client.config_set("maxmemory", 0)
    assert store.items() == ["c", "a"]
    assert store.add(event("a", 5)).duplicates == 1


def test_thousands_of_events_of_one_user_are_one_step(redis_url: str, redis_server: RedisServer) -> None:
    async def add(*batches: Sequence[BehaviourEvent]) -> None:
        connection = connect(redis_url, timeout_ms=10_000, max_connections=1)
        writer = BehaviourWriter(connection, max_stored=3_000)
        for batch in batches:
            await writer.write(batch, max_behaviours=5)
        await connection.aclose()

    events = [event(f"{time:05}", time) for time in range(4_000)]
    asyncio.run(add(events[::2], [], events[1:2_001:2], *([late] for late in events[2_001::400]), events[1::2]))
    stored = [json.loads(element)["timestamp"] for element in redis_server.client.lrange("{u:42}:behaviours", 0, -1)]
    assert stored == list(range(3_999, 999, -1))


NUM_LONG = 10_000
MOST_HELD_US = 100_000  # generous: a call takes 1 to 8 ms, and in one piece they took 400 and more


def alike(place: float) -> bytes:
    """Elements that differ in their beginnings alone, as those with many features do: Lua takes them for equal until it
    has compared them whole.
    """
    return b'{"item_id":"%08d","timestamp":%.1f,"genre":["%s"]}' % (place, place, b"x" * 600)


@pytest.fixture
def long_history(redis_server: RedisServer) -> Iterator[None]:
    """User 42 has 10,000 live behaviours, at even times; Redis notes how long each command of the test takes."""
    client = redis_server.client
    for start in range(0, NUM_LONG, 1_000):
        places = range(start, start + 1_000)
        client.lpush("{u:42}:behaviours", *(alike(2 * place) for place in places))
        client.zadd("{u:42}:events", {f"stored {place}": 2 * place for place in places})
    client.config_set("slowlog-log-slower-than", 0)
    client.config_set("slowlog-max-len", 10_000)
    client.slowlog_reset()
    yield
    client.config_set("slowlog-log-slower-than", 10_000)
    client.config_set("slowlog-max-len", 128)


def write_long(redis_url: str, *events: BehaviourEvent) -> EventCounts:
    async def write() -> EventCounts:
        async with aclosing(connect(redis_url, timeout_ms=10_000, max_connections=4)) as connection:
            return await BehaviourWriter(connection, max_stored=NUM_LONG).write(events, max_behaviours=5)

    return asyncio.run(write())


def scripts_us(redis_server: RedisServer) -> list[int]:
    """How long each call of a script held Redis."""
    calls = redis_server.client.slowlog_get(10_000)
    return [call["duration"] for call in calls if call["command"].upper().startswith(b"EVAL")]


@pytest.mark.usefixtures("long_history")
def test_late_events_to_a_long_history_leave_redis_time_for_others(redis_server: RedisServer, redis_url: str) -> None:
    late = [BehaviourEvent(f"late {place}", "42", 2 * place + 1, alike(2 * place + 1)) for place in range(0, 9_000, 18)]
    counts = write_long(redis_url, *late)
    times = [json.loads(element)["timestamp"] for element in redis_server.client.lrange("{u:42}:behaviours", 0, -1)]
    expected = sorted([*range(0, 2 * NUM_LONG, 2), *(each.timestamp for each in late)], reverse=True)[:NUM_LONG]
    assert times == expected
    assert counts.total == len(late)
    assert counts.accepted == len(set(times) & {each.timestamp for each in late})
    took_us = scripts_us(redis_server)
    assert len(took_us) > 10
    assert max(took_us) < MOST_HELD_US


@pytest.mark.usefixtures("long_history")
def test_after_a_failure_amid_the_calls_all_events_may_be_sent_again(
    redis_server: RedisServer, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = [BehaviourEvent(f"late {place}", "42", 2 * place + 1, alike(2 * place + 1)) for place in range(0, 9_000, 90)]

    async def run_out_of_memory(*arguments: Any) -> list[Any]:
        replies = await run_script(*arguments)
        if len(scripts_us(redis_server)) > 1:  # the first does what can be done at once
            redis_server.client.config_set("maxmemory", 1)
        return replies

    monkeypatch.setattr(behaviour_writer, "run_script", run_out_of_memory)
    try:
        with pytest.raises(FeatureStoreUnavailable, match="OOM"):
            write_long(redis_url, *late[50:])
    finally:
        redis_server.client.config_set("maxmemory", 0)
    monkeypatch.setattr(behaviour_writer, "run_script", run_script)
    counts = write_long(redis_url, *late[:60], *late[50:])
    assert (counts.total, counts.accepted < len(late), counts.duplicates > 10) == (len(late) + 10, True, True)
    times = [json.loads(element)["timestamp"] for element in redis_server.client.lrange("{u:42}:behaviours", 0, -1)]
    expected = sorted([*range(0, 2 * NUM_LONG, 2), *(each.timestamp for each in late)], reverse=True)[:NUM_LONG]
    assert times == expected


@pytest.mark.usefixtures("long_history")
def test_late_events_of_many_users_are_not_carried_out_in_one_go(redis_server: RedisServer, redis_url: str) -> None:
    """Commands that came together are: so what takes long is sent by itself."""
    redis_server.client.copy("{u:42}:behaviours", "{u:43}:behaviours")
    redis_server.client.copy("{u:42}:events", "{u:43}:events")
    redis_server.client.slowlog_reset()
    sent = [BehaviourEvent("late", user_id, 1.0, alike(1)) for user_id in ("42", "43")]
    newest = [BehaviourEvent("new", f"other {number}", 1.0, alike(1)) for number in range(50)]
    assert write_long(redis_url, *sent, *newest).total == 52
    assert len(scripts_us(redis_server)) >= 52 + 2


@pytest.mark.usefixtures("long_history")
def test_publishing_over_a_long_history_leaves_redis_time_for_others(redis_server: RedisServer, store: Store) -> None:
    store.publish(("old", -1.0))
    assert store.items() == [f"{2 * (NUM_LONG - place):08}" for place in range(1, MAX_STORED + 1)]  # the newest
    store.publish(("new", 2 * NUM_LONG + 1))
    assert store.items() == ["new"]
    assert max(scripts_us(redis_server)) < MOST_HELD_US
