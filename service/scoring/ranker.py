"""Ranker: fetch, encode, infer, rank."""

import asyncio
import logging
import math
import time
from collections.abc import Sequence

import numpy as np

from dinrank.model.auction import hold_auction
from dinrank.model.bundle.catalogue import UNKNOWN_ROW
from dinrank.model.bundle.encoding import Indices, UnknownFeatureError
from dinrank.model.bundle.reader import Bundle
from dinrank.model.bundle.request import EncodedRequest, encode_request
from dinrank.model.bundle.schema import ITEM_ID, Group
from dinrank.service.errors import (
    CallerLeft,
    DeadlineTooShort,
    ExplanationTooLarge,
    ExplanationUnavailable,
    FeatureStoreUnavailable,
    StoreFailure,
    TooManyCandidates,
)
from dinrank.service.scoring.admission import Estimate
from dinrank.service.scoring.assembly import RowCache, assemble, unknown_feature
from dinrank.service.scoring.measures import Measures
from dinrank.service.scoring.predictor import Prediction, Predictor
from dinrank.service.scoring.ranking import Caller, Part, Ranking, RankingTask, explain, num_shown, num_spelled
from dinrank.service.scoring.threads import ScoringThreads
from dinrank.service.store.protocol import FeatureStore, StoredBehaviours, StoredFeatures
from dinrank.service.telemetry.logs import log_event
from dinrank.service.telemetry.metrics import Stage

_NOTHING_STORED = StoredFeatures(behaviours=StoredBehaviours(), profile={}, ads={})
_STORE_SHARE = 0.8  # of the time that a deadline leaves before scoring; the rest is slack


class Ranker:
    """Ranks candidates with one bundle and one store. One instance serves all requests of a process."""

    def __init__(
        self,
        *,
        bundle: Bundle,
        predictor: Predictor,
        store: FeatureStore,
        threads: ScoringThreads,
        measures: Measures,
        max_candidates: int,
        max_explained_pairs: int,
        refuses_without_store: bool = False,
    ) -> None:
        """Args:
        refuses_without_store: fail requests when the store does not answer, instead of giving degraded answers.
        """
        self._bundle = bundle
        self._encoder = bundle.encoder
        self._known = RowCache(bundle.encoder.catalogue)
        self._predictor = predictor
        self._store = store
        self._threads = threads
        self._measures = measures
        self._max_candidates = max_candidates
        self._max_explained_pairs = max_explained_pairs
        self._refuses_without_store = refuses_without_store
        self._after_fetch = Estimate()

    async def rank(self, task: RankingTask, caller: Caller | None = None) -> Ranking:
        """Score every candidate for one user and order them by eCPM, highest first, ties in request order.

        Costs one round trip to the store and one ONNX Runtime run, off the event loop. A user that the store does not
        know is scored with an empty behaviour sequence: that is a new user, not an error. If the store does not answer
        in time, every user is scored that way, and the ranking is marked as degraded.

        Args:
            caller: deadline and connection of the caller; by default nobody waits.

        Raises:
            TooManyCandidates: nothing was fetched or computed.
            ExplanationUnavailable: asked for weights of a model that has none; nothing was fetched or computed.
            ExplanationTooLarge: too many weights for one answer; nothing was scored.
            UnknownFeature: the request names a feature that the model lacks, or gives it a value of the wrong shape.
            PredictionFailed: the graph's output is not a CTR.
            FeatureStoreUnavailable: only if degraded answers are switched off.
            DeadlineTooShort: the deadline passed while waiting for the feature store, a place or the scoring.
            Overloaded: the scoring did not begin within the time that the request may wait.
            CallerLeft: the caller hung up; nothing was scored.
        """
        self._refuse_unanswerable(task)
        rows_C = self._known.rows(task.candidates.ad_ids)
        new_ads = _new_ads(task, rows_C)
        caller = caller or Caller()
        started_s = time.monotonic()
        stored, degraded = await self._fetch(task, new_ads, caller)
        fetched_s = time.monotonic()
        caller.store_s = fetched_s - started_s
        if task.explain:
            self._refuse_large_explanation(task, stored.behaviours)
        async with self._threads.place(caller) as place:
            _stop_if_nobody_waits(caller)
            encoded = self._encode(task, stored, rows_C)
            prediction = await place.run(self._score, task, encoded)
        scored_s = time.monotonic()
        self._after_fetch.add(scored_s - fetched_s, scored_s)
        self._measures.ranked(prediction, stored, degraded, encoded=encoded, num_new_ads=len(new_ads))
        return _ranking(task, stored.behaviours, prediction, degraded)

    def _refuse_unanswerable(self, task: RankingTask) -> None:
        if len(task.candidates) > self._max_candidates:
            raise TooManyCandidates(len(task.candidates), self._max_candidates)
        if task.explain and not self._predictor.has_weights:
            raise ExplanationUnavailable(self._bundle.manifest.model_name)

    def _refuse_large_explanation(self, task: RankingTask, behaviours: StoredBehaviours) -> None:
        """Raises: ExplanationTooLarge."""
        num_ads, num_behaviours = num_shown(task), num_spelled(behaviours.item_ids)
        if num_ads * num_behaviours > self._max_explained_pairs:
            raise ExplanationTooLarge(num_ads, num_behaviours, self._max_explained_pairs)

    async def _fetch(
        self, task: RankingTask, new_ads: Sequence[str], caller: Caller
    ) -> tuple[StoredFeatures, Sequence[Part]]:
        """Return the stored features, and the parts that are missing because the store failed."""
        try:
            with self._measures.timed(Stage.STORE):
                stored = await self._fetch_in_time(task, new_ads, caller)
        except FeatureStoreUnavailable as exc:
            return _NOTHING_STORED, self._do_without(self._stored_parts(new_ads), task, exc)
        if stored.ads_failure is None:
            return stored, ()
        return stored, self._do_without(self._ads_part(new_ads), task, stored.ads_failure)

    def _do_without(
        self, missing: Sequence[Part], task: RankingTask, failure: FeatureStoreUnavailable
    ) -> Sequence[Part]:
        """Count and log the missing parts, and return them. Raises: FeatureStoreUnavailable, if configured to."""
        self._measures.store_failed(failure.kind)
        if failure.kind is not StoreFailure.BREAKER:  # the breaker logs its own line, not one per request
            event = "refused" if self._refuses_without_store else "degraded"
            log_event(logging.WARNING, event, request_id=task.request_id, parts=",".join(missing), error=failure)
        if self._refuses_without_store:
            raise failure
        return missing

    async def _fetch_in_time(self, task: RankingTask, new_ads: Sequence[str], caller: Caller) -> StoredFeatures:
        """Fetch within the store's own timeout, or within the caller's deadline if that is earlier.

        Raises:
            FeatureStoreUnavailable
        """
        limit_s = _STORE_SHARE * (caller.remaining_s() - self._after_fetch.at(time.monotonic()))
        too_late = "the caller's deadline leaves no time for the feature store"
        if limit_s <= 0:
            raise FeatureStoreUnavailable(too_late, StoreFailure.DEADLINE)
        fetching = self._store.fetch(
            task.user_id, max_behaviours=self._encoder.schema.max_behaviours, new_ads=list(dict.fromkeys(new_ads))
        )
        if math.isinf(limit_s):
            return await fetching
        try:
            async with asyncio.timeout(limit_s):
                return await fetching
        except TimeoutError as exc:
            raise FeatureStoreUnavailable(too_late, StoreFailure.DEADLINE) from exc

    def _stored_parts(self, new_ads: Sequence[str]) -> list[Part]:
        """Return the parts of the store that this model uses."""
        profile = [Part.PROFILE] if self._encoder.schema.group(Group.USER) else []
        return [Part.BEHAVIOURS, *profile, *self._ads_part(new_ads)]

    def _ads_part(self, new_ads: Sequence[str]) -> list[Part]:
        has_attributes = any(feature.name != ITEM_ID for feature in self._encoder.schema.group(Group.ITEM))
        return [Part.ADS] if new_ads and has_attributes else []

    def _encode(self, task: RankingTask, stored: StoredFeatures, rows_C: Indices) -> EncodedRequest:
        """Encode in the event loop's thread: in another core, with cold caches, it costs twice as much."""
        with self._measures.timed(Stage.ENCODE):
            request = assemble(task, stored, self._encoder)
            try:
                rows = (rows_C, self._known.rows(stored.behaviours.item_ids))
                return encode_request(self._encoder, request, rows=rows)
            except UnknownFeatureError as exc:
                raise unknown_feature(task, self._encoder) from exc

    def _score(self, task: RankingTask, encoded: EncodedRequest) -> Prediction:
        """Runs in a scoring thread."""
        with self._measures.timed(Stage.SCORE):
            return self._predictor.predict(encoded, with_weights=task.explain)


def _stop_if_nobody_waits(caller: Caller) -> None:
    if caller.has_left():
        raise CallerLeft
    if caller.remaining_s() <= 0:
        raise DeadlineTooShort


# Legend: C = candidates, in request order; K = ads of the answer, in its order.
def _new_ads(task: RankingTask, rows_C: Indices) -> list[str]:
    """Return the candidates that the bundle does not know, with the request's repetitions."""
    return [task.candidates.ad_ids[position] for position in np.flatnonzero(rows_C == UNKNOWN_ROW).tolist()]


def _ranking(
    task: RankingTask, behaviours: StoredBehaviours, prediction: Prediction, degraded: Sequence[Part]
) -> Ranking:
    bid_C = np.array(task.candidates.bids, dtype=np.float64)
    auction = hold_auction(
        bid_C,
        prediction.ctr_C,
        reserve_price=task.reserve_price,
        top_k=task.top_k,
        second_prices=task.second_prices,
    )
    ad_ids, winner_K = task.candidates.ad_ids, auction.winner_K
    return Ranking(
        ad_ids=[ad_ids[position] for position in winner_K.tolist()],
        bids=bid_C[winner_K].tolist(),
        ctrs=prediction.ctr_C[winner_K].tolist(),
        ecpms=auction.ecpm_K.tolist(),
        num_behaviours=len(behaviours),
        prices=None if auction.price_K is None else auction.price_K.tolist(),
        num_below_reserve=auction.num_below_reserve,
        degraded=degraded,
        ctr_C=prediction.ctr_C,
        explanation=None
        if prediction.weights_CT is None
        else explain(behaviours.item_ids, prediction.weights_CT[winner_K]),
    )
