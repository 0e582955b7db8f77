"""What every feature store does, whichever Redis stands behind it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio.connection import DefaultParser

from dinrank.model.bundle.schema import Feature, FeatureSchema, Group, Kind
from dinrank.service.store.connection import RedisConnection, connect
from dinrank.service.store.layout import ad_key, behaviours_key, profile_key
from dinrank.service.store.protocol import FeatureStore, StoredBehaviours, StoredFeatures
from dinrank.service.store.redis_store import RedisFeatureStore
from dinrank.service.store.redis_writer import RedisFeatureWriter, TimedBehaviour, UserRecord

pytestmark = pytest.mark.anyio

SCHEMA = FeatureSchema(
    features=(
        Feature("item_id", Group.ITEM, Kind.SINGLE, num_indices=10),
        Feature("genre", Group.ITEM, Kind.MULTI, num_indices=10, max_values=4),
        Feature("price", Group.ITEM, Kind.NUMERIC, num_indices=10),
        Feature("brand", Group.ITEM, Kind.SINGLE, num_indices=10),
        Feature("gender", Group.USER, Kind.SINGLE, num_indices=10),
        Feature("interests", Group.USER, Kind.MULTI, num_indices=10, max_values=4),
        Feature("hour", Group.CONTEXT, Kind.SINGLE, num_indices=10),
    ),
    max_behaviours=5,
)
STRANGE_IDS = [
    "a}b",
    "}",
    "{",
    "{}",
    "",
    " ",
    "1\n2",
    "*",
    "[a-z]",
    "Zoë 🎬",
    "\ud800",
    "1}:profile",
    "{u:1}:behaviours",
]


@pytest.fixture
async def connection(any_redis_url: str) -> AsyncIterator[RedisConnection]:
    connection = connect(any_redis_url, timeout_ms=5_000, max_connections=2)
    yield connection
    await connection.aclose()


@pytest.fixture
def store(connection: RedisConnection) -> FeatureStore:
    return RedisFeatureStore(connection, SCHEMA)


@pytest.fixture
def writer(connection: RedisConnection) -> RedisFeatureWriter:
    return RedisFeatureWriter(connection, SCHEMA)


def user(user_id: str, *item_ids: str, **profile: str | list[str]) -> UserRecord:
    behaviours = [TimedBehaviour(item_id, time, {}) for time, item_id in enumerate(item_ids)]
    return UserRecord(user_id, behaviours, profile)


def ids(stored: StoredFeatures) -> list[str]:
    return list(stored.behaviours.item_ids)


async def test_behaviours_come_oldest_first(store: FeatureStore, writer: RedisFeatureWriter) -> None:
    await writer.write_users([user("42", "10", "20", "30")])
    assert ids(await store.fetch("42", max_behaviours=5, new_ads=[])) == ["10", "20", "30"]


async def test_of_many_behaviours_the_newest_are_read(store: FeatureStore, writer: RedisFeatureWriter) -> None:
    await writer.write_users([user("42", *"abcdefgh")])
    assert ids(await store.fetch("42", max_behaviours=3, new_ads=[])) == ["f", "g", "h"]


async def test_a_user_nobody_knows_has_nothing(store: FeatureStore) -> None:
    assert await store.fetch("nobody", max_behaviours=5, new_ads=["9"]) == StoredFeatures(StoredBehaviours([]), {}, {})


async def test_a_profile_is_read_by_the_schemas_kinds(store: FeatureStore, writer: RedisFeatureWriter) -> None:
    await writer.write_users([user("42", gender="f", interests=["sport", "[music]"])])
    stored = await store.fetch("42", max_behaviours=5, new_ads=[])
    assert stored.profile == {"gender": "f", "interests": ["sport", "[music]"]}


async def test_new_ads_that_are_known_come_with_their_attributes(
    store: FeatureStore, writer: RedisFeatureWriter
) -> None:
    await writer.write_ads({"9001": {"genre": ["Comedy"], "price": 4.5}, "9002": {"brand": "Acme"}})
    stored = await store.fetch("42", max_behaviours=5, new_ads=["9001", "nowhere", "9001"])
    assert stored.ads == {"9001": {"genre": ["Comedy"], "price": "4.5"}}


async def test_what_is_written_replaces_what_was_there_whatever_it_was(
    store: FeatureStore, writer: RedisFeatureWriter, connection: RedisConnection
) -> None:
    many = [str(number) for number in range(2_500)]  # more than one call of the script takes
    await connection.execute([("SET", behaviours_key("42"), "text")])
    for item_ids in (many, many[:7], many[:1_001]):
        await writer.write_users([user("42", *item_ids)])
        assert ids(await store.fetch("42", max_behaviours=3_000, new_ads=[])) == item_ids


async def test_behaviours_bring_attributes_along(store: FeatureStore, writer: RedisFeatureWriter) -> None:
    attributes = {"genre": ["Drama", "Comedy"], "price": 3, "brand": None}
    record = UserRecord("42", [TimedBehaviour("new", 1, attributes), TimedBehaviour("old", 2, {})], {})
    await writer.write_users([record])
    stored = await store.fetch("42", max_behaviours=5, new_ads=[])
    assert stored.behaviours == StoredBehaviours(["new", "old"], {0: {"genre": ["Drama", "Comedy"], "price": "3"}})


async def test_users_with_strange_ids_are_kept_apart(store: FeatureStore, writer: RedisFeatureWriter) -> None:
    records = [user(user_id, str(number), gender=str(number)) for number, user_id in enumerate(STRANGE_IDS)]
    await writer.write_users(records)
    stored = [await store.fetch(user_id, max_behaviours=5, new_ads=[user_id]) for user_id in STRANGE_IDS]
    assert [(ids(each), each.profile) for each in stored] == [
        ([str(number)], {"gender": str(number)}) for number in range(len(STRANGE_IDS))
    ]


@pytest.mark.parametrize(
    "element",
    [b"", b"no json", b"\xff", b"[]", b"7", b"{}", b'{"item_id": null}', b'{"item_id": ["1"]}', b'{"item_id": "1"']
    + [b'{"item_id": "1", "genre": "Comedy"}', b'{"item_id": "1", "brand": ["Acme"]}', b'{"item_id":"1","genre":[{}]}'],
)
async def test_a_malformed_behaviour_is_left_out_and_counted(
    store: FeatureStore, connection: RedisConnection, element: bytes
) -> None:
    good = [b'{"item_id": "2", "timestamp": 2}', b'{"item_id": 1.0}']
    await connection.execute([("RPUSH", behaviours_key("42"), good[0], element, good[1])])
    stored = await store.fetch("42", max_behaviours=5, new_ads=[])
    assert (ids(stored), stored.num_malformed) == (["1", "2"], 1)


async def test_names_that_the_schema_lacks_are_passed_over(store: FeatureStore, connection: RedisConnection) -> None:
    await connection.execute(
        [
            ("RPUSH", behaviours_key("42"), b'{"item_id": "1", "timestamp": 1, "colour": "red", "hour": "9"}'),
            ("HSET", profile_key("42"), "colour", "red", "gender", "f", b"\xff", "x"),
            ("HSET", ad_key("9"), "colour", "red", "item_id", "10"),
        ]
    )
    stored = await store.fetch("42", max_behaviours=5, new_ads=["9"])
    assert stored == StoredFeatures(StoredBehaviours(["1"]), {"gender": "f"}, {}, num_malformed=0)


async def test_a_malformed_field_is_left_out_and_counted(store: FeatureStore, connection: RedisConnection) -> None:
    await connection.execute(
        [
            ("HSET", profile_key("42"), "gender", b"\xff", "interests", '["sport"]'),
            ("HSET", ad_key("9"), "genre", "Comedy", "brand", "Acme"),
        ]
    )
    stored = await store.fetch("42", max_behaviours=5, new_ads=["9"])
    assert stored == StoredFeatures(
        StoredBehaviours([]), {"interests": ["sport"]}, {"9": {"brand": "Acme"}}, num_malformed=2
    )


async def test_a_key_of_the_wrong_type_loses_nothing_else(store: FeatureStore, connection: RedisConnection) -> None:
    await connection.execute(
        [
            ("SET", behaviours_key("42"), "text"),
            ("HSET", profile_key("42"), "gender", "f"),
            ("RPUSH", ad_key("8"), "text"),
            ("HSET", ad_key("9"), "brand", "Acme"),
        ]
    )
    stored = await store.fetch("42", max_behaviours=5, new_ads=["8", "9"])
    assert stored == StoredFeatures(StoredBehaviours([]), {"gender": "f"}, {"9": {"brand": "Acme"}}, num_malformed=2)


async def test_writing_again_replaces_behaviours_and_absent_features(
    store: FeatureStore, writer: RedisFeatureWriter
) -> None:
    await writer.write_users([user("42", "1", "2", gender="f", interests=["sport"]), user("43", "5")])
    await writer.write_users([user("42", "3", interests=["music"]), user("43")])
    first = await store.fetch("42", max_behaviours=5, new_ads=[])
    second = await store.fetch("43", max_behaviours=5, new_ads=[])
    assert (ids(first), first.profile, ids(second)) == (["3"], {"interests": ["music"]}, [])


async def test_writing_leaves_features_of_other_models_alone(
    writer: RedisFeatureWriter, connection: RedisConnection
) -> None:
    await connection.execute([("HSET", profile_key("42"), "colour", "red")])
    await writer.write_users([user("42", gender="f")])
    assert await connection.execute([("HGETALL", profile_key("42"))]) == [{b"colour": b"red", b"gender": b"f"}]


async def test_writing_leaves_no_keys_of_its_own(writer: RedisFeatureWriter, connection: RedisConnection) -> None:
    await writer.write_users([user("42", "1", gender="f")])
    await writer.write_ads({"9": {"brand": "Acme"}, "10": {}})
    keys = {key async for key in connection.scan(b"*")}
    assert keys == {behaviours_key("42"), profile_key("42"), ad_key("9")}


async def test_many_fetches_at_once_each_get_their_own_user(store: FeatureStore, writer: RedisFeatureWriter) -> None:
    user_ids = [str(number) for number in range(50)]  # many more than connections
    await writer.write_users([user(user_id, user_id) for user_id in user_ids])
    fetches = [store.fetch(user_id, max_behaviours=5, new_ads=[]) for user_id in user_ids]
    assert [ids(stored) for stored in await asyncio.gather(*fetches)] == [[user_id] for user_id in user_ids]


async def test_a_store_that_answers_can_be_pinged(store: FeatureStore) -> None:
    await store.ping()


def test_replies_are_parsed_in_c() -> None:
    assert DefaultParser.__name__ == "_AsyncHiredisParser"
