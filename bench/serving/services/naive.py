"""The naive service: FastAPI, pydantic, redis-py and an eager PyTorch DIN, the history repeated per candidate.

Written with care: one thread of torch per worker and as many workers as cores, inference mode, one Redis round trip,
hiredis, uvloop, and no padding. Scoring runs on the event loop: with all cores busy a thread pool would only add
context switches.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis.asyncio as redis
import torch
from fastapi import FastAPI, Request

from bench.serving.repeated import INPUTS, RepeatedDIN
from bench.serving.services.bodies import RankRequest, RankResponse
from bench.serving.services.features import behaviours_key, make_rows, profile_key, rank, read_history, read_index

DIRECTORY = Path(os.environ["BENCH_ROWS_NETWORK"])
NUM_BEHAVIOURS = int(os.environ["BENCH_NUM_BEHAVIOURS"])


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    torch.set_num_threads(1)
    network = RepeatedDIN(**json.loads((DIRECTORY / "sizes.json").read_text()))
    network.load_state_dict(torch.load(DIRECTORY / "din.pt", weights_only=True))
    app.state.network = network.eval()
    app.state.index = read_index(DIRECTORY / "index.json")
    app.state.redis = redis.Redis.from_url(os.environ["BENCH_REDIS"])
    yield
    await app.state.redis.aclose()


app = FastAPI(lifespan=lifespan)


@app.post("/rank", response_model=RankResponse)
async def rank_ads(body: RankRequest, request: Request) -> dict[str, object]:
    state = request.app.state
    pipeline = state.redis.pipeline(transaction=False)
    pipeline.lrange(behaviours_key(body.user_id), 0, NUM_BEHAVIOURS - 1)
    pipeline.hget(profile_key(body.user_id), "segment")
    elements, segment = await pipeline.execute()
    rows = make_rows(
        state.index,
        [candidate.ad_id for candidate in body.candidates],
        read_history(elements),
        (segment or b"").decode(),
        body.context.get("hour", ""),
    )
    with torch.inference_mode():
        ctr_N = state.network(*(torch.from_numpy(rows[name]) for name in INPUTS)).numpy()
    return {"ads": rank([(candidate.ad_id, candidate.bid) for candidate in body.candidates], ctr_N)}
