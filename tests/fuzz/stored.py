"""What nobody should have written to Redis, and somebody did."""

from collections.abc import Sequence

import redis

_GOOD = b'{"item_id":"2","timestamp":7}'
_LISTS: Sequence[Sequence[bytes]] = (
    [b'{"item_id":"1","timestamp":9223372036854775808}', _GOOD],
    [b'{"item_id":"1","timestamp":-9223372036854775809}', b'{"item_id":"1","timestamp":18446744073709551616}'],
    [b'{"item_id":"1","timestamp":1e999}', b'{"item_id":"1","timestamp":NaN}', _GOOD],
    [b'{"item_id":"1","timestamp":' + b"9" * 5_000 + b"}", _GOOD],
    [b'{"item_id":"\\u0000","timestamp":1}', b"\x00", b"", b"\xff\xfe", _GOOD],
    [b'{"item_id":"\\ud800","timestamp":1}', b'{"item_id":1,"timestamp":1}', b'{"item_id":null}', b"null", b"[]", b"1"],
    [b"[" * 100_000, b'{"item_id":' * 10_000, b'{"item_id":"1","genre":' + b"[" * 500 + b"]" * 500 + b"}", _GOOD],
    [b'{"item_id":"' + b"x" * 1_000_000 + b'","timestamp":1}', _GOOD],
    [b'{"item_id":"new","genre":{"a":1},"price":[1],"timestamp":1}', b'{"item_id":"new","price":1e308,"genre":["x"]}'],
    [_GOOD + b"," + _GOOD, b'],"x":[', b'{"item_id":"1"}]', _GOOD],
)
HOSTILE_USERS = [*(f"hostile-{number}" for number in range(len(_LISTS))), "hostile-profile", "hostile-type"]


def store_hostile_features(client: redis.Redis) -> None:
    for number, elements in enumerate(_LISTS):
        client.rpush(f"{{u:hostile-{number}}}:behaviours", *elements)
    client.hset(
        "{u:hostile-profile}:profile",
        mapping={"gender": b"\xff\x00", "age": "9" * 5_000, "interests": "[" * 10_000, "": "", "x" * 10_000: "NaN"},
    )
    client.set("{u:hostile-type}:behaviours", "a text")
    client.rpush("{u:hostile-type}:profile", "a list")
    client.hset("ad:new", mapping={"genre": b'["\\u0000", 1e999, null]', "price": "1e999"})
    client.hset("ad:deep", mapping={"genre": "[" * 100_000, "price": "nan"})
    client.rpush("ad:wrong-type", "a list")
