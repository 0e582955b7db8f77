"""A breaker around a store: what fails again and again is left alone for a while, and costs requests no timeout."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from service.errors import FeatureStoreUnavailable, StoreFailure
from service.store.circuit import Circuit, Outcome
from service.store.protocol import FeatureStore, StoredAds, StoredBehaviours, StoredFeatures
from service.store.unobserved import look_at_outcome

T = TypeVar("T")

_FORGOTTEN_AFTER = 10  # times `open_s`: a part that nobody asks for any more is not there any more

_NO_USER = StoredFeatures(StoredBehaviours(), {}, {})

Announce = Callable[[str, bool, str], None]  # the part, whether it is open, why


class BreakerStore:
    """A `FeatureStore` that asks another one, unless that has failed too often.

    Each part of the store has a circuit of its own: half of a cluster that is gone costs the users of the other half
    nothing. One instance serves one process; workers learn by themselves.
    """

    def __init__(
        self,
        store: FeatureStore,
        *,
        failures: int,
        open_s: float,
        timeout_s: float,
        announce: Announce,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        failures: in a row, after which a part is left alone.
        open_s: for so long; then one fetch is the probe.
        timeout_s: the store's own limit of a fetch.
        announce: is told when a part begins and when it ceases to be left alone.
        """
        self._store = store
        self._failures = failures
        self._open_s = open_s
        self._timeout_s = timeout_s
        self._announce = announce
        self._clock = clock
        self._circuits: dict[str, Circuit] = {}
        self._open_parts: set[str] = set()

    async def fetch(self, user_id: str, *, max_behaviours: int, new_ads: Sequence[str]) -> StoredFeatures:
        """See `FeatureStore.fetch`. While the user's part is left alone this raises at once.

        Ads that lie in other parts are asked for apart and at the same time: a part that fails costs these ads'
        attributes alone.
        """
        own = self._store.part_of(user_id)
        here, elsewhere = self._by_part(new_ads, own)
        user = partial(self._store.fetch, user_id, max_behaviours=max_behaviours, new_ads=here)
        if not elsewhere:
            return await self._guarded(own, user)
        ads = asyncio.gather(*(self._ads_or_why_not(part, of_part) for part, of_part in elsewhere.items()))
        ads.add_done_callback(look_at_outcome)
        try:
            stored = await self._guarded(own, user)
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
            return await self._guarded(part, partial(self._store.fetch_ads, ads))
        except FeatureStoreUnavailable as exc:
            return exc

    def _by_part(self, ads: Sequence[str], own: str | None) -> tuple[list[str], dict[str, list[str]]]:
        """Those in the part `own`, and the others by their part."""
        here: list[str] = []
        elsewhere: dict[str, list[str]] = {}
        for ad in ads:
            part = self._store.part_of_ad(ad)
            (here if part == own else elsewhere.setdefault(part, [])).append(ad)
        return here, elsewhere

    async def _guarded(self, part: str, fetch: Callable[[], Awaitable[T]]) -> T:
        """Raises: FeatureStoreUnavailable, of the store or because it is left alone."""
        circuit = self._circuit(part)
        started_s = self._clock()
        call = circuit.begin(started_s)
        if call is None:
            raise _left_alone()
        outcome, reason = Outcome.CUT_SHORT, "no answer within the time that callers allow"
        try:
            stored = await fetch()
            outcome = Outcome.SUCCESS
        except FeatureStoreUnavailable as exc:
            outcome, reason = Outcome.FAILURE, str(exc)
            raise
        finally:  # also of a fetch that was cancelled: a probe must end, whatever ends it
            now_s = self._clock()
            circuit.end(call, outcome, now_s, waited_s=now_s - started_s)
            if self._circuits.get(part) is circuit:  # or it was forgotten meanwhile
                self._look_at(part, circuit, reason)
            if self._open_parts:
                self._forget(now_s)
        return stored

    def part_of(self, user_id: str) -> str:
        return self._store.part_of(user_id)

    def part_of_ad(self, ad_id: str) -> str:
        return self._store.part_of_ad(ad_id)

    def refuse_while_left_alone(self, user_id: str) -> None:
        """For what asks the same Redis by other means: it should not wait for a part that is known to fail.

        What comes of that does not count here: Redis may refuse to write and answer whoever reads.

        Raises:
            FeatureStoreUnavailable: the user's part is left alone.
        """
        if not self._open_parts:
            return
        part = self._store.part_of(user_id)
        if part in self._open_parts and self._circuits[part].leaves_alone(self._clock()):
            raise _left_alone()

    async def ping(self) -> None:
        """See `FeatureStore.ping`. Fails at once while any part is left alone; its outcome does not count.

        Fetches alone decide: a server may answer a ping and refuse to read, and any node of a cluster answers it.
        """
        now_s = self._clock()
        if any(self._circuits[part].leaves_alone(now_s) for part in self._open_parts):
            raise _left_alone()
        await self._store.ping()

    async def aclose(self) -> None:
        await self._store.aclose()

    def _circuit(self, part: str) -> Circuit:
        circuit = self._circuits.get(part)
        if circuit is None:
            circuit = Circuit(failures=self._failures, open_s=self._open_s, timeout_s=self._timeout_s)
            self._circuits[part] = circuit
        return circuit

    def _look_at(self, part: str, circuit: Circuit, reason: str) -> None:
        """Announce what a call has changed."""
        if circuit.is_open and part not in self._open_parts:
            self._open_parts.add(part)
            self._announce(part, True, reason)
        elif not circuit.is_open and part in self._open_parts:
            self._open_parts.remove(part)
            self._announce(part, False, "it answers again")

    def _forget(self, now_s: float) -> None:
        """A cluster's node that failed may have been replaced by one with another address; nobody will probe it."""
        after_s = _FORGOTTEN_AFTER * self._open_s
        gone = [part for part in self._open_parts if self._circuits[part].is_forgotten(now_s, after_s=after_s)]
        for part in gone:
            del self._circuits[part]
            self._open_parts.remove(part)
            self._announce(part, False, "it is not asked for any more")


def _left_alone() -> FeatureStoreUnavailable:
    return FeatureStoreUnavailable("the feature store failed too often and is not asked", StoreFailure.BREAKER)


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
