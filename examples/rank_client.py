"""Client of POST /rank with keep-alive, API key, deadline, retries when the service is busy, and a fallback.

    pip install 'httpx>=0.28,<1'
    python examples/rank_client.py --url http://127.0.0.1:8000 --user 450 475=0.8 9=0.34

The API key, if the service requires one, comes from DINRANK_API_KEY. `make serve` serves the users and ads above.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

FIRST_PAUSE_S = 0.02  # after a failed connection; doubled each time


class NoAnswer(Exception):
    """The service could not answer within the budget: show ads in an order of your own."""


class Refused(Exception):
    """The request is invalid and must not be retried: its body, its key or a feature that the model lacks."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Ads by eCPM.

    Attributes:
        model_version: keep it with impressions and clicks, to tell models apart later.
        degraded: inputs missing from the CTRs; empty for a full answer. A degraded answer is still usable.
        ads: highest eCPM first, each with rank, ad_id, bid, ctr and ecpm.
    """

    model_version: str
    degraded: Sequence[str]
    ads: Sequence[Mapping[str, Any]]


class RankingClient:
    """Keep one per process: opening a connection takes longer than ranking. Threads may share it."""

    def __init__(self, url: str, *, key: str | None = None) -> None:
        self._http = httpx.Client(base_url=url, headers={"X-API-Key": key} if key else {})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    def rank(self, user_id: str, bids: Mapping[str, float], *, budget_ms: int, **further: Any) -> Answer:
        """Rank ads for a user.

        Ranking is idempotent, so a request may be retried. The service is told the remaining time: it refuses at once
        if it cannot answer by then, and prefers an answer without the history to a late one.

        Args:
            bids: price of a click by ad id, in one currency.
            budget_ms: for everything, including retries.
            further: other fields of the body: context, top_k, reserve_price.

        Raises:
            NoAnswer
            Refused
        """
        body = {"user_id": user_id, "candidates": [{"ad_id": ad, "bid": bid} for ad, bid in bids.items()], **further}
        deadline_s = time.monotonic() + budget_ms / 1_000
        pause_s, reason = FIRST_PAUSE_S, "the budget is too small"
        while (left_ms := int(1_000 * (deadline_s - time.monotonic()))) > 0:
            try:
                response = self._http.post(
                    "/rank", json=body, headers={"X-Deadline-Ms": str(left_ms)}, timeout=left_ms / 1_000
                )
            except httpx.TransportError as exc:  # connection refused or broken
                reason = f"{type(exc).__name__} {exc}"
                wait_s = pause_s * random.uniform(0.5, 1.0)  # jitter: not all callers retry together
                pause_s *= 2
            else:
                if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    return _answer(response)
                reason = _problem(response)
                wait_s = float(response.headers.get("Retry-After", pause_s))
            if wait_s >= deadline_s - time.monotonic():
                break
            time.sleep(wait_s)
        raise NoAnswer(f"no answer within {budget_ms} ms: {reason}")


def _answer(response: httpx.Response) -> Answer:
    if not response.is_success:
        raise Refused(_problem(response))
    found = response.json()
    return Answer(found["model"]["version"], found["degraded"], found["ads"])


def _problem(response: httpx.Response) -> str:
    """Format an RFC 9457 problem; a proxy's error page has none."""
    if not response.headers.get("Content-Type", "").startswith("application/problem+json"):
        return f"status {response.status_code}"
    problem = response.json()
    return f"{response.status_code} {problem['title']}: {problem.get('detail', '')}"


def _bid(text: str) -> tuple[str, float]:
    ad_id, _, bid = text.rpartition("=")
    return ad_id, float(bid)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="address of the service (%(default)s)")
    parser.add_argument("--user", required=True, help="id of the user")
    parser.add_argument("--budget-ms", type=int, default=200, help="longest wait, in milliseconds (%(default)s)")
    parser.add_argument("ads", nargs="+", type=_bid, metavar="AD=BID", help="a candidate and its price per click")
    options = parser.parse_args()
    bids = dict(options.ads)
    with RankingClient(options.url, key=os.environ.get("DINRANK_API_KEY")) as client:
        try:
            answer = client.rank(options.user, bids, budget_ms=options.budget_ms)
        except Refused as exc:
            print(f"refused: {exc}", file=sys.stderr)
            return 1
        except NoAnswer as exc:  # a page without ads earns nothing: fall back to highest bid first
            print(f"{exc}; by bid instead", file=sys.stderr)
            print("\n".join(f"{ad_id} bid {bid:g}" for ad_id, bid in sorted(bids.items(), key=lambda ad: -ad[1])))
            return 0
    if answer.degraded:
        print(f"computed without {', '.join(answer.degraded)}", file=sys.stderr)
    for ad in answer.ads:
        print(f"{ad['rank']}. {ad['ad_id']} bid {ad['bid']:g} CTR {ad['ctr']:.4f} eCPM {ad['ecpm']:.4f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
