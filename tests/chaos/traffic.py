"""What the load asks, and what may be answered: the fixtures' formula says what each answer must be."""

import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.fixtures.bundle import ITEMS, expected_ctr

NUM_USERS = 40
NUM_CANDIDATES = 20
_TOLERANCE = 1e-5
_SEED = 20

History = tuple[str, ...]  # item ids, oldest first


@dataclass(slots=True)
class Users:
    """What Redis holds of each user.

    Attributes:
        histories: as published.
        others: further histories that answers may rest on, of users of whom something is changed.
    """

    histories: dict[str, History] = field(default_factory=dict)
    others: dict[str, set[History]] = field(default_factory=dict)
    profiles: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def made(cls) -> "Users":
        rng = random.Random(_SEED)
        users = cls()
        for number in range(NUM_USERS):
            user_id = f"user-{number}"
            users.histories[user_id] = tuple(rng.choices(list(ITEMS), k=number % 8))
            users.others[user_id] = set()
            users.profiles[user_id] = {"gender": rng.choice("fm")}
        return users

    def possible(self, user_id: str) -> set[History]:
        return {self.histories[user_id], *self.others[user_id]}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    user_id: str
    ads: Sequence[str]
    bids: Sequence[float]
    hour: str

    def body(self) -> bytes:
        candidates = [{"ad_id": ad, "bid": bid} for ad, bid in zip(self.ads, self.bids, strict=True)]
        return json.dumps({"user_id": self.user_id, "candidates": candidates, "context": {"hour": self.hour}}).encode()


def requests() -> Iterator[Asked]:
    """For ever, each user in turn."""
    rng = random.Random(_SEED + 1)
    ads = [*ITEMS, "brand new"]
    for number in itertools.count():
        yield Asked(
            user_id=f"user-{number % NUM_USERS}",
            ads=rng.choices(ads, k=NUM_CANDIDATES),
            bids=[round(rng.uniform(0.0, 2.0), 2) for _ in range(NUM_CANDIDATES)],
            hour=rng.choice(["9", "21"]),
        )


def fault_in(answer: Mapping[str, Any], asked: Asked, users: Users, shifts: Mapping[str, float]) -> str | None:
    """What is wrong with a 200, or None.

    Args:
        shifts: by model version that may answer, what its formula adds to every logit.
    """
    shift = shifts.get(answer["model"]["version"])
    if shift is None:
        return f"a model that nobody asked for answered: {answer['model']}"
    histories = {()} if "behaviours" in answer["degraded"] else users.possible(asked.user_id)
    profile = {} if "profile" in answer["degraded"] else users.profiles[asked.user_id]
    right = [_ranked(asked, history, profile, shift) for history in histories]
    if not any(_same(answer["ads"], ads) for ads in right):
        return f"not the formula's answer for {asked.user_id}, degraded {answer['degraded']}"
    return None


def _ranked(
    asked: Asked, history: History, profile: Mapping[str, str], shift: float
) -> list[tuple[float, str, float, float]]:
    """eCPM, ad, bid, CTR; highest eCPM first, ties in request order."""
    context = {"hour": asked.hour}
    ctrs = {
        ad: expected_ctr(ad, history, profile=profile, context=context, shift=shift) for ad in dict.fromkeys(asked.ads)
    }
    ranked = [(bid * ctrs[ad], ad, bid, ctrs[ad]) for ad, bid in zip(asked.ads, asked.bids, strict=True)]
    return sorted(ranked, key=lambda each: -each[0])


def _same(found: Sequence[Mapping[str, Any]], expected: Sequence[tuple[float, str, float, float]]) -> bool:
    """Compared by eCPM place for place: ads whose eCPM differs by rounding alone may have changed places."""
    return len(found) == len(expected) and all(
        abs(ad["ecpm"] - ecpm) < _TOLERANCE and abs(ad["ecpm"] - ad["bid"] * ad["ctr"]) < _TOLERANCE
        for ad, (ecpm, *_) in zip(found, expected, strict=True)
    )
