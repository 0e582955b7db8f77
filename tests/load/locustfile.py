"""Realistic traffic on POST /rank.

Users are drawn by a Zipf law from those in Redis, requests have 50 to 500 candidates drawn by a Zipf law from the
bundle's catalogue, and bids are log-normal. Each simulated caller sends its next request when the last is answered.

Example: locust --locustfile tests/load/locustfile.py --host http://127.0.0.1:8000 --bundle bundles/din-ml-100k
"""

import os
from argparse import Namespace
from pathlib import Path

import numpy as np
from gevent.threadpool import ThreadPool
from locust import FastHttpUser, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from dinrank.model.bundle.reader import open_bundle
from dinrank.service.store.embedded import default_data_dir
from dinrank.service.store.url import EMBEDDED
from dinrank.service.store.user_data import published_user_ids

ZIPF_EXPONENT = 1.1
CANDIDATES = (50, 500)
BID_MEDIAN = 0.4
BID_SIGMA = 0.6
KEY = os.environ.get("DINRANK_API_KEY", "")  # not a flag: others on the machine see those
HEADERS = {"X-API-Key": KEY} if KEY else {}


class Traffic:
    """Draws request bodies."""

    def __init__(self, user_ids: list[str], ad_ids: list[str], *, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._user_ids = self._rng.permutation(user_ids)  # so that fame has nothing to do with the spelling
        self._ad_ids = self._rng.permutation(ad_ids)

    def body(self) -> dict[str, object]:
        num_candidates = min(int(self._rng.integers(CANDIDATES[0], CANDIDATES[1] + 1)), len(self._ad_ids))
        ads = self._draw(self._ad_ids, num_candidates)
        bids = np.round(self._rng.lognormal(np.log(BID_MEDIAN), BID_SIGMA, num_candidates), 4)
        return {
            "user_id": str(self._draw(self._user_ids, 1)[0]),
            "candidates": [
                {"ad_id": ad_id, "bid": bid} for ad_id, bid in zip(ads.tolist(), bids.tolist(), strict=True)
            ],
        }

    def _draw(self, ids: np.ndarray, count: int) -> np.ndarray:
        """`count` different ids, the k-th most famous in proportion to 1 / k^s."""
        fame = 1.0 / np.arange(1, len(ids) + 1) ** ZIPF_EXPONENT
        return self._rng.choice(ids, size=count, replace=False, p=fame / fame.sum())


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--bundle", env_var="DINRANK_BUNDLE", required=True, help="Bundle whose ads are candidates.")
    parser.add_argument(
        "--redis", env_var="DINRANK_REDIS", default=EMBEDDED, help="Redis that holds the users, as for the service."
    )


@events.test_start.add_listener
def read_ids(environment: Environment, **_: object) -> None:
    options = environment.parsed_options
    assert options is not None
    # A native thread: asyncio and gevent do not share one.
    user_ids = ThreadPool(1).apply(published_user_ids, (_redis_url(options),))
    if not user_ids:
        raise SystemExit("Redis holds no users; publish a dataset first: python -m service publish --help")
    ad_ids = list(open_bundle(Path(options.bundle)).encoder.catalogue.item_ids)
    Ranking.traffic = Traffic(user_ids, ad_ids, seed=os.getpid())


def _redis_url(options: Namespace) -> str:
    return f"unix://{default_data_dir() / 'redis.sock'}" if options.redis == EMBEDDED else str(options.redis)


class Ranking(FastHttpUser):
    """A caller that ranks ads, one request after the other."""

    wait_time = constant(0)
    traffic: Traffic

    @task
    def rank(self) -> None:
        with self.client.post("/rank", json=self.traffic.body(), headers=HEADERS, catch_response=True) as response:
            if response.status_code == 200 and response.json()["degraded"]:
                response.failure("degraded")
