"""Reference service: the cost of FastAPI, pydantic and redis-py in a plain handler.

It takes the same body, reads the same user from the same Redis in one pipeline, looks the ids up in a dictionary and
returns the same answer, ordered by eCPM. It scores nothing: each CTR is derived from the id's index.
"""

import json
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, Field
from redis.asyncio import Redis

from bench.harness.setting import MAX_BEHAVIOURS, NUM_ITEMS, item_ids

SOCKET_VARIABLE = "BENCH_REDIS_SOCKET"


class Candidate(BaseModel):
    ad_id: str = Field(min_length=1, max_length=256)
    bid: float = Field(ge=0)
    features: dict[str, Any] = Field(default_factory=dict)


class Request(BaseModel):
    user_id: str = Field(min_length=1, max_length=256)
    candidates: list[Candidate] = Field(min_length=1)
    context: dict[str, Any] = Field(default_factory=dict)
    top_k: int | None = None
    explain: bool = False


class Ad(BaseModel):
    rank: int
    ad_id: str
    bid: float
    ctr: float
    ecpm: float


class Answer(BaseModel):
    request_id: str
    model: dict[str, str]
    behaviours: int
    degraded: list[str]
    ads: list[Ad]


def create_app() -> FastAPI:
    redis = Redis(unix_socket_path=os.environ[SOCKET_VARIABLE])
    rows = {item_id: row for row, item_id in enumerate(item_ids(), start=2)}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await redis.aclose()

    app = FastAPI(lifespan=lifespan)

    @app.post("/rank")
    async def rank(request: Request) -> Answer:
        pipeline = redis.pipeline(transaction=False)
        pipeline.lrange(f"{{u:{request.user_id}}}:behaviours", 0, MAX_BEHAVIOURS - 1)
        pipeline.hgetall(f"{{u:{request.user_id}}}:profile")
        elements, _profile = await pipeline.execute()
        item_ids = [json.loads(element)["item_id"] for element in reversed(elements)]
        behaviours = np.array([rows.get(item_id, 1) for item_id in item_ids])
        ctr = np.array([rows.get(candidate.ad_id, 1) for candidate in request.candidates]) / (NUM_ITEMS + 2)
        scored = [
            (candidate, float(p), candidate.bid * float(p))
            for candidate, p in zip(request.candidates, ctr, strict=True)
        ]
        scored.sort(key=lambda each: -each[2])
        return Answer(
            request_id=uuid.uuid4().hex,
            model={"name": "plain", "version": "0"},
            behaviours=len(behaviours),
            degraded=[],
            ads=[
                Ad(rank=place, ad_id=candidate.ad_id, bid=candidate.bid, ctr=p, ecpm=ecpm)
                for place, (candidate, p, ecpm) in enumerate(scored[: request.top_k], start=1)
            ],
        )

    return app
