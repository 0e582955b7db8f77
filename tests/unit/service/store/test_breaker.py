"""The breaker around a store, on a clock that the tests move."""

import asyncio
import gc
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from dinrank.service.errors import FeatureStoreUnavailable, StoreFailure
from dinrank.service.store.breaker import Breaker
from dinrank.service.store.breaker_store import BreakerStore
from dinrank.service.store.protocol import StoredAds, StoredBehaviours, StoredFeatures

pytestmark = pytest.mark.anyio
FAILURES, OPEN_S = 2, 10.0
STORED = StoredFeatures(StoredBehaviours(), {}, {})


@dataclass
class TwoParts:
    """A store of two parts, `a` and `b`, the first letters of ids; `down` refuses, `silent` never answers. It knows all
    ads that it is asked for."""

    down: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    async def fetch(self, user_id: str, *, max_behaviours: int, new_ads: Sequence[str]) -> StoredFeatures:
        self.asked.append(user_id)
        await self._answer(user_id[0])
        return replace(STORED, ads=dict.fromkeys(new_ads, {})) if new_ads else STORED

    async def fetch_ads(self, ads: Sequence[str]) -> StoredAds:
        self.asked.extend(ads)
        [part] = {ad[0] for ad in ads}
        await self._answer(part)
        return StoredAds(dict.fromkeys(ads, {}), num_malformed=1)

    async def _answer(self, part: str) -> None:
        await asyncio.sleep(0)  # as long as a network's answer at least
        if part in self.silent:
            await asyncio.Event().wait()
        if part in self.down:
            raise FeatureStoreUnavailable("down", StoreFailure.UNREACHABLE)

    def part_of(self, user_id: str) -> str:
        return user_id[0]

    def part_of_ad(self, ad_id: str) -> str:
        return ad_id[0]

    async def ping(self) -> None:
        self.asked.append("ping")

    async def aclose(self) -> None: ...


@dataclass
class Stage:
    store: TwoParts = field(default_factory=TwoParts)
    now_s: float = 0.0
    announced: list[tuple[str, bool, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shared = Breaker(
            failures=FAILURES,
            open_s=OPEN_S,
            timeout_s=1.0,
            announce=lambda *change: self.announced.append(change),
            clock=lambda: self.now_s,
        )
        self.breaker = BreakerStore(self.store, self.shared)

    async def fetch(self, user_id: str, *new_ads: str) -> StoredFeatures:
        return await self.breaker.fetch(user_id, max_behaviours=5, new_ads=new_ads)

    async def fails(self, user_id: str) -> StoreFailure:
        with pytest.raises(FeatureStoreUnavailable) as caught:
            await self.fetch(user_id)
        return caught.value.kind

    async def open(self, user_id: str) -> None:
        self.store.down.add(user_id[0])
        for _ in range(FAILURES):
            assert await self.fails(user_id) is StoreFailure.UNREACHABLE


async def test_a_store_that_failed_too_often_is_not_asked() -> None:
    stage = Stage()
    await stage.open("a1")
    assert await stage.fails("a2") is StoreFailure.BREAKER
    assert stage.store.asked == ["a1"] * FAILURES


async def test_what_one_models_store_learnt_spares_anothers() -> None:
    stage = Stage()
    await stage.open("a1")
    another = BreakerStore(stage.store, stage.shared)
    with pytest.raises(FeatureStoreUnavailable) as caught:
        await another.fetch("a2", max_behaviours=5, new_ads=())
    assert caught.value.kind is StoreFailure.BREAKER
    assert stage.store.asked == ["a1"] * FAILURES


async def test_the_other_part_is_asked_and_answers() -> None:
    stage = Stage()
    await stage.open("a1")
    assert await stage.fetch("b1") is STORED
    assert await stage.fails("a1") is StoreFailure.BREAKER


async def test_after_a_while_one_fetch_finds_out_and_the_store_is_used_again() -> None:
    stage = Stage()
    await stage.open("a1")
    stage.store.down.clear()
    stage.now_s = OPEN_S
    assert await stage.fetch("a1") is STORED
    assert await stage.fetch("a1") is STORED


async def test_a_part_is_announced_once_when_it_opens_and_once_when_it_closes() -> None:
    stage = Stage()
    await stage.open("a1")
    for now_s in (1.0, OPEN_S, OPEN_S + 1.0):
        stage.now_s = now_s
        await stage.fails("a1")
    stage.store.down.clear()
    stage.now_s = 3 * OPEN_S
    await stage.fetch("a1")
    await stage.fetch("a1")
    assert stage.announced == [("a", True, "down"), ("a", False, "it answers again")]


async def test_while_a_probe_is_out_the_others_fail_at_once() -> None:
    stage = Stage()
    await stage.open("a1")
    stage.now_s = OPEN_S
    stage.store.silent.add("a")
    probe = asyncio.create_task(stage.fetch("a1"))
    await asyncio.sleep(0)
    assert await stage.fails("a2") is StoreFailure.BREAKER
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe


async def test_a_cancelled_probe_leaves_the_next_fetch_to_probe() -> None:
    stage = Stage()
    await stage.open("a1")
    stage.now_s = OPEN_S
    stage.store.silent.add("a")
    probe = asyncio.create_task(stage.fetch("a1"))
    await asyncio.sleep(0)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    stage.store.silent.clear()
    stage.store.down.clear()
    assert await stage.fetch("a1") is STORED


async def test_a_ping_fails_at_once_while_a_part_is_left_alone_and_asks_when_a_probe_is_due() -> None:
    stage = Stage()
    await stage.open("a1")
    with pytest.raises(FeatureStoreUnavailable):
        await stage.breaker.ping()
    assert "ping" not in stage.store.asked
    stage.now_s = OPEN_S
    await stage.breaker.ping()
    assert await stage.fails("a1") is StoreFailure.UNREACHABLE  # the ping was not the probe


async def test_a_part_that_nobody_asks_for_any_more_does_not_stay_open_for_ever() -> None:
    stage = Stage()
    await stage.open("a1")
    stage.now_s = 12 * OPEN_S
    await stage.fetch("b1")
    assert stage.announced[1:] == [("a", False, "it is not asked for any more")]
    await stage.breaker.ping()


async def test_ads_of_another_part_are_found_there() -> None:
    stored = await Stage().fetch("a1", "a2", "b3", "a4", "b5")
    assert stored.ads.keys() == {"a2", "b3", "a4", "b5"}
    assert stored.num_malformed == 1
    assert stored.ads_failure is None


async def test_a_part_that_is_down_costs_its_ads_and_not_the_user() -> None:
    stage = Stage()
    stage.store.down.add("b")
    for kind in [StoreFailure.UNREACHABLE] * FAILURES + [StoreFailure.BREAKER] * 3:
        stored = await stage.fetch("a1", "a2", "b3")
        assert stored.ads.keys() == {"a2"}
        assert stored.ads_failure is not None
        assert stored.ads_failure.kind is kind
    assert [part for part, _, _ in stage.announced] == ["b"]
    assert await stage.fetch("a1") is STORED


async def test_a_users_part_that_is_down_costs_everything_and_leaves_the_other_part_in_peace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    stage.store.down.add("a")
    stage.store.silent.add("b")
    with pytest.raises(FeatureStoreUnavailable):
        await stage.fetch("a1", "b3")
    for _ in range(5):  # what was begun for b ends
        await asyncio.sleep(0)
    gc.collect()
    assert not caplog.records  # asyncio would complain here of what nobody looked at
    stage.store.silent.clear()
    assert (await stage.fetch("b1", "b3")).ads_failure is None


async def test_ads_alone_are_fetched_from_all_parts_or_none() -> None:
    stage = Stage()
    assert (await stage.breaker.fetch_ads(["a1", "b1"])).ads.keys() == {"a1", "b1"}
    stage.store.down.add("b")
    with pytest.raises(FeatureStoreUnavailable):
        await stage.breaker.fetch_ads(["a1", "b1"])
