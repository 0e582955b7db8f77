"""Publish users for ever, with one history and the reversed one in turn: python -m tests.chaos.publisher URL."""

import asyncio
import sys
from contextlib import aclosing
from itertools import cycle

from dinrank.service.store.connection import connect
from dinrank.service.store.redis_writer import RedisFeatureWriter, TimedBehaviour, UserRecord
from tests.chaos.traffic import Users
from tests.fixtures.bundle import SCHEMA


async def publish_for_ever(url: str) -> None:
    users = Users.made()
    async with aclosing(connect(url, timeout_ms=10_000, max_connections=1)) as connection:
        writer = RedisFeatureWriter(connection, SCHEMA)
        print("begun", flush=True)  # noqa: T201
        for step in cycle((-1, 1)):
            for user_id, history in users.histories.items():
                behaviours = [TimedBehaviour(item, place, {}) for place, item in enumerate(history[::step])]
                await writer.write_users([UserRecord(user_id, behaviours, users.profiles[user_id])])


if __name__ == "__main__":
    asyncio.run(publish_for_ever(sys.argv[1]))
