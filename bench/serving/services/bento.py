"""The network with repeated histories as an ONNX graph, served by BentoML. Runs in an environment of its own."""

import os
from pathlib import Path

import bentoml
import onnxruntime as ort
import redis.asyncio as redis

from bench.serving.services.bodies import Candidate, RankResponse
from bench.serving.services.features import behaviours_key, make_rows, profile_key, rank, read_history, read_index

DIRECTORY = Path(os.environ["BENCH_ROWS_NETWORK"])
NUM_BEHAVIOURS = int(os.environ["BENCH_NUM_BEHAVIOURS"])


@bentoml.service(workers=int(os.environ["BENCH_WORKERS"]), traffic={"timeout": 60}, metrics={"enabled": False})
class Ranker:
    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(DIRECTORY / "din.onnx", options, providers=["CPUExecutionProvider"])
        self.index = read_index(DIRECTORY / "index.json")
        self.redis = redis.Redis.from_url(os.environ["BENCH_REDIS"])

    @bentoml.api(route="/rank")
    async def rank(self, user_id: str, candidates: list[Candidate], context: dict[str, str]) -> RankResponse:
        pipeline = self.redis.pipeline(transaction=False)
        pipeline.lrange(behaviours_key(user_id), 0, NUM_BEHAVIOURS - 1)
        pipeline.hget(profile_key(user_id), "segment")
        elements, segment = await pipeline.execute()
        ad_ids = [candidate.ad_id for candidate in candidates]
        history = read_history(elements)
        rows = make_rows(self.index, ad_ids, history, (segment or b"").decode(), context.get("hour", ""))
        ctr_N = self.session.run(None, rows)[0]
        ads = rank([(candidate.ad_id, candidate.bid) for candidate in candidates], ctr_N)
        return RankResponse.model_validate({"ads": ads})
