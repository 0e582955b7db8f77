"""The network with repeated histories as an ONNX graph, served by LitServe. Runs in an environment of its own."""

import os
from pathlib import Path
from typing import Any

import litserve
import onnxruntime as ort
import redis

from bench.serving.services.bodies import RankRequest
from bench.serving.services.features import behaviours_key, make_rows, profile_key, rank, read_history, read_index

DIRECTORY = Path(os.environ["BENCH_ROWS_NETWORK"])
NUM_BEHAVIOURS = int(os.environ["BENCH_NUM_BEHAVIOURS"])


class Ranker(litserve.LitAPI):
    """LitServe's workers take one request each, so the Redis client is a blocking one."""

    def setup(self, device: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(DIRECTORY / "din.onnx", options, providers=["CPUExecutionProvider"])
        self.index = read_index(DIRECTORY / "index.json")
        self.redis = redis.Redis.from_url(os.environ["BENCH_REDIS"])

    def decode_request(self, request: RankRequest) -> RankRequest:
        return request

    def predict(self, body: RankRequest) -> list[dict[str, Any]]:
        pipeline = self.redis.pipeline(transaction=False)
        pipeline.lrange(behaviours_key(body.user_id), 0, NUM_BEHAVIOURS - 1)
        pipeline.hget(profile_key(body.user_id), "segment")
        elements, segment = pipeline.execute()
        ad_ids = [candidate.ad_id for candidate in body.candidates]
        history = read_history(elements)
        rows = make_rows(self.index, ad_ids, history, (segment or b"").decode(), body.context.get("hour", ""))
        ctr_N = self.session.run(None, rows)[0]
        return rank([(candidate.ad_id, candidate.bid) for candidate in body.candidates], ctr_N)

    def encode_response(self, output: list[dict[str, Any]]) -> dict[str, Any]:
        return {"ads": output}


if __name__ == "__main__":
    workers = int(os.environ["BENCH_WORKERS"])
    server = litserve.LitServer(Ranker(api_path="/rank"), accelerator="cpu", workers_per_device=workers)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["BENCH_PORT"]),
        num_api_servers=1,  # it is idle nearly all the time
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
