"""Feature store behind a circuit breaker."""

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial

from dinrank.service.errors import FeatureStoreUnavailable
from dinrank.service.store.breaker import Breaker
from dinrank.service.store.exchange import look_at_outcome
from dinrank.service.store.protocol import FeatureStore, StoredAds, StoredBehaviours, StoredFeatures

_NO_USER = StoredFeatures(StoredBehaviours(), {}, {})


class BreakerStore:
    """A `FeatureStore` that wraps another one and fails fast for parts whose circuit is open."""

    def __init__(self, store: FeatureStore, breaker: Breaker) -> None:
        """Args:
        breaker: shared by all stores on the same Redis.
        """
        self._store = store
        self._breaker = breaker

    async def fetch(self, user_id: str, *, max_behaviours: int, new_ads: Sequence[str]) -> StoredFeatures:
        """See `FeatureStore.fetch`. Raises at once while the circuit of the user's part is open.

        Ads in other parts are fetched separately and concurrently: a failing part costs only the attributes of its ads.
        """
        own = self._store.part_of(user_id)
        here, elsewhere = self._by_part(new_ads, own)
        user = partial(self._store.fetch, user_id, max_behaviours=max_behaviours, new_ads=here)
        if not elsewhere:
            return await self._breaker.guarded(own, user)
        ads = asyncio.gather(*(self._ads_or_why_not(part, of_part) for part, of_part in elsewhere.items()))
        ads.add_done_callback(look_at_outcome)
        try:
            stored = await self._breaker.guarded(own, user)
        except BaseException:
            ads.cancel()
            raise
        return _together(stored, await ads)

    async def fetch_ads(self, ads: Sequence[str]) -> StoredAds:
        """See `FeatureStore.fetch_ads`."""
        found = _together(_NO_USER, [await self._ads_or_why_not(*part) for part in self._by_part(ads, None)[1].items()])
        if found.ads_failure is not None:
            raise found.ads_failure
        return StoredAds(found.ads, found.num_malformed)

    async def _ads_or_why_not(self, part: str, ads: Sequence[str]) -> StoredAds | FeatureStoreUnavailable:
        try:
            return await self._breaker.guarded(part, partial(self._store.fetch_ads, ads))
        except FeatureStoreUnavailable as exc:
            return exc

    def _by_part(self, ads: Sequence[str], own: str | None) -> tuple[list[str], dict[str, list[str]]]:
        """Split ads into those in the part `own`, and the others by their part."""
        here: list[str] = []
        elsewhere: dict[str, list[str]] = {}
        for ad in ads:
            part = self._store.part_of_ad(ad)
            (here if part == own else elsewhere.setdefault(part, [])).append(ad)
        return here, elsewhere

    def part_of(self, user_id: str) -> str:
        return self._store.part_of(user_id)

    def part_of_ad(self, ad_id: str) -> str:
        return self._store.part_of_ad(ad_id)

    def refuse_while_left_alone(self, user_id: str) -> None:
        """See `Breaker.refuse_left_alone`. Raises: FeatureStoreUnavailable."""
        self._breaker.refuse_left_alone(self._store.part_of(user_id))

    async def ping(self) -> None:
        """See `FeatureStore.ping`. Fails at once while any circuit is open; its outcome does not count.

        Only fetches change the state: a server may answer a ping and refuse reads, and any node of a cluster answers
        a ping.
        """
        self._breaker.refuse_any_left_alone()
        await self._store.ping()

    async def aclose(self) -> None:
        await self._store.aclose()


def _together(stored: StoredFeatures, of_ads: Iterable[StoredAds | FeatureStoreUnavailable]) -> StoredFeatures:
    ads = dict(stored.ads)
    num_malformed = stored.num_malformed
    failure = stored.ads_failure
    for found in of_ads:
        if isinstance(found, FeatureStoreUnavailable):
            failure = found
        else:
            ads.update(found.ads)
            num_malformed += found.num_malformed
    return StoredFeatures(stored.behaviours, stored.profile, ads, num_malformed, failure)
