"""Users in Redis, and request bodies for them."""

import asyncio
import json
from contextlib import aclosing

import numpy as np

from bench.harness.setting import AGES, GENDERS, HOURS, item_ids
from dinrank.model.bundle.schema import FeatureSchema
from dinrank.service.store.connection import connect
from dinrank.service.store.redis_writer import RedisFeatureWriter, TimedBehaviour, UserRecord

NUM_USERS = 20  # with each number of behaviours; requests take turns

FIRST_TIMESTAMP = 978_300_000


def user_id(num_behaviours: int, number: int) -> str:
    return f"{num_behaviours}-{number}"


def fill_redis(url: str, schema: FeatureSchema, nums_behaviours: list[int]) -> None:
    """Write NUM_USERS users with each of the given numbers of behaviours."""
    asyncio.run(_fill_redis(url, schema, nums_behaviours))


async def _fill_redis(url: str, schema: FeatureSchema, nums_behaviours: list[int]) -> None:
    rng = np.random.default_rng(1)
    ids = item_ids()
    async with aclosing(connect(url, timeout_ms=60_000, max_connections=1)) as connection:
        writer = RedisFeatureWriter(connection, schema)
        for count in nums_behaviours:
            for number in range(NUM_USERS):
                behaviours = [
                    TimedBehaviour(ids[item], FIRST_TIMESTAMP + place, {})
                    for place, item in enumerate(rng.integers(0, len(ids), count))
                ]
                profile = {"gender": GENDERS[number % 2], "age": AGES[number]}
                await writer.write_users([UserRecord(user_id(count, number), behaviours, profile)])


def bodies(num_behaviours: int, num_candidates: int) -> list[bytes]:
    """Make one body per user with that many behaviours, each with candidates of its own."""
    rng = np.random.default_rng(2)
    ids = item_ids()
    return [
        json.dumps(
            {
                "user_id": user_id(num_behaviours, number),
                "candidates": [
                    {"ad_id": ids[item], "bid": round(float(rng.lognormal(-1.0, 0.6)), 2)}
                    for item in rng.choice(len(ids), num_candidates, replace=False)
                ],
                "context": {"hour": HOURS[number % len(HOURS)]},
            }
        ).encode()
        for number in range(NUM_USERS)
    ]
