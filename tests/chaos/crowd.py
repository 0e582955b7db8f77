"""Many callers with large requests, each sending the next as soon as it has an answer, a refusal too.

    python -m tests.chaos.crowd PORT

A process of its own, as it would otherwise take the core from the load that is judged. It goes on until its standard
input ends, and then says what it saw: JSON, how often each outcome came, and the shortest Retry-After.
"""

import asyncio
import json
import random
import sys
from collections import Counter

import httpx

from tests.chaos.driver import problem_name
from tests.fixtures.bundle import ITEMS

CALLERS = 48
NUM_CANDIDATES = 400


async def crowd(port: int) -> None:
    rng = random.Random(0)
    ads = [{"ad_id": ad, "bid": 1.0} for ad in rng.choices(list(ITEMS), k=NUM_CANDIDATES)]
    body = json.dumps({"user_id": "user-1", "candidates": ads, "context": {"hour": "9"}}).encode()
    seen: Counter[str] = Counter()
    waits_s: list[int] = []
    is_over = asyncio.Event()

    async def call_again(client: httpx.AsyncClient) -> None:
        while not is_over.is_set():
            response = await client.post("/rank", content=body, headers={"Content-Type": "application/json"})
            seen["ok" if response.is_success else problem_name(response)] += 1
            if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                waits_s.append(int(response.headers["Retry-After"]))

    asyncio.get_running_loop().add_reader(sys.stdin, is_over.set)
    limits = httpx.Limits(max_connections=CALLERS, max_keepalive_connections=CALLERS)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=30.0) as client:
        await asyncio.gather(*(call_again(client) for _ in range(CALLERS)))
    print(json.dumps({"seen": seen, "shortest_retry_after_s": min(waits_s, default=None)}))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(crowd(int(sys.argv[1])))
