"""A request's story: fetch, encode, infer, rank."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np

from model.bundle.encoding import UnknownFeatureError
from model.bundle.reader import Bundle
from model.bundle.request import encode_request
from model.bundle.schema import ITEM_ID, Group
from service.errors import ExplanationUnavailable, FeatureStoreUnavailable, TooManyCandidates
from service.scoring.assembly import assemble, unknown_feature
from service.scoring.auction import ecpm, order_by_ecpm
from service.scoring.predictor import Prediction, Predictor
from service.scoring.ranking import ActivationWeight, Part, RankedAd, Ranking, RankingTask
from service.store.protocol import FeatureStore, StoredFeatures
from service.telemetry import Stage, Telemetry, WeightSource, log_event

_NOTHING_STORED = StoredFeatures(behaviours=(), profile={}, ads={})


class Ranker:
    """Ranks candidates with one bundle and one store. One instance serves all requests of a process."""

    def __init__(
        self,
        *,
        bundle: Bundle,
        predictor: Predictor,
        store: FeatureStore,
        executor: Executor,
        telemetry: Telemetry,
        max_candidates: int,
    ) -> None:
        self._bundle = bundle
        self._encoder = bundle.encoder
        self._predictor = predictor
        self._store = store
        self._executor = executor
        self._telemetry = telemetry
        self._max_candidates = max_candidates

    async def rank(self, task: RankingTask) -> Ranking:
        """Score every candidate for one user and order them by eCPM, highest first, ties in request order.

        Costs one round trip to the store and one ONNX Runtime run, off the event loop. A user whom the store does not
        know is scored with an empty behaviour sequence: that is a new user, not an error. While the store does not
        answer, all users are scored so, and the ranking says that it is degraded.

        Raises:
            TooManyCandidates: nothing was fetched or computed.
            ExplanationUnavailable: asked for weights of a model that has none; nothing was fetched or computed.
            UnknownFeature: the request names a feature that the model lacks, or gives it a value of the wrong shape.
            PredictionFailed: the graph gave something that is no CTR.
        """
        self._refuse_unanswerable(task)
        new_ads = self._new_ads(task)
        stored, degraded = await self._fetch(task, new_ads)
        behaviours, prediction = await asyncio.get_running_loop().run_in_executor(
            self._executor, self._score, task, stored
        )
        self._count(task, new_ads, stored, degraded)
        self._count_pairs(prediction)
        return Ranking(ads=_ranked_ads(task, behaviours, prediction), num_behaviours=len(behaviours), degraded=degraded)

    def _refuse_unanswerable(self, task: RankingTask) -> None:
        if len(task.candidates) > self._max_candidates:
            raise TooManyCandidates(len(task.candidates), self._max_candidates)
        if task.explain and not self._predictor.has_weights:
            raise ExplanationUnavailable(self._bundle.manifest.model_name)

    async def _fetch(self, task: RankingTask, new_ads: Sequence[str]) -> tuple[StoredFeatures, Sequence[Part]]:
        """What the store knows; or nothing, and which parts are therefore missing."""
        max_behaviours = self._encoder.schema.max_behaviours
        try:
            with self._telemetry.timed(Stage.STORE):
                stored = await self._store.fetch(
                    task.user_id, max_behaviours=max_behaviours, new_ads=list(dict.fromkeys(new_ads))
                )
        except FeatureStoreUnavailable as exc:
            missing = self._stored_parts(new_ads)
            log_event(logging.WARNING, "degraded", request_id=task.request_id, parts=",".join(missing), error=exc)
            return _NOTHING_STORED, missing
        return stored, ()

    def _new_ads(self, task: RankingTask) -> list[str]:
        """The candidates that the bundle does not know, repeated when the request repeats them."""
        catalogue = self._encoder.catalogue
        return [candidate.ad_id for candidate in task.candidates if candidate.ad_id not in catalogue]

    def _stored_parts(self, new_ads: Sequence[str]) -> list[Part]:
        """What this model would have used from the store."""
        parts = [Part.BEHAVIOURS]
        if self._encoder.schema.group(Group.USER):
            parts.append(Part.PROFILE)
        if new_ads and any(feature.name != ITEM_ID for feature in self._encoder.schema.group(Group.ITEM)):
            parts.append(Part.ADS)
        return parts

    def _score(self, task: RankingTask, stored: StoredFeatures) -> tuple[Sequence[str], Prediction]:
        """Encode and infer; runs in the executor. The ids are those of the behaviours used, oldest first."""
        with self._telemetry.timed(Stage.ENCODE):
            request = assemble(task, stored, self._encoder)
            try:
                encoded = encode_request(self._encoder, request)
            except UnknownFeatureError as exc:
                raise unknown_feature(task, self._encoder) from exc
        with self._telemetry.timed(Stage.SCORE):
            prediction = self._predictor.predict(encoded, with_weights=task.explain)
        return [str(item_id) for item_id in request.behaviours], prediction

    def _count(
        self, task: RankingTask, new_ads: Sequence[str], stored: StoredFeatures, degraded: Sequence[Part]
    ) -> None:
        telemetry = self._telemetry
        telemetry.candidates.observe(len(task.candidates))
        telemetry.behaviours.observe(len(stored.behaviours))
        telemetry.unknown_ads.inc(len(new_ads))
        telemetry.malformed_elements.inc(stored.num_malformed)
        for part in degraded:
            telemetry.degraded_answers.labels(part).inc()
        if not (degraded or stored.behaviours or stored.profile):
            telemetry.unknown_users.inc()

    def _count_pairs(self, prediction: Prediction) -> None:
        pairs = self._telemetry.weighed_pairs
        pairs.labels(WeightSource.TABLE).inc(prediction.num_looked_up)
        pairs.labels(WeightSource.COMPUTED).inc(prediction.num_pairs - prediction.num_looked_up)


# Legend: C = candidates, in request order.
def _ranked_ads(task: RankingTask, behaviours: Sequence[str], prediction: Prediction) -> list[RankedAd]:
    bid_C = np.array([candidate.bid for candidate in task.candidates], dtype=np.float64)
    ecpm_C = ecpm(bid_C, prediction.ctr_C)
    order = order_by_ecpm(ecpm_C, top_k=task.top_k)
    places = zip(order.tolist(), prediction.ctr_C[order].tolist(), ecpm_C[order].tolist(), strict=True)
    return [
        RankedAd(
            rank=rank,
            ad_id=task.candidates[position].ad_id,
            bid=task.candidates[position].bid,
            ctr=ctr,
            ecpm=revenue,
            activation_weights=_explanation(behaviours, prediction, position),
        )
        for rank, (position, ctr, revenue) in enumerate(places, start=1)
    ]


def _explanation(behaviours: Sequence[str], prediction: Prediction, position: int) -> list[ActivationWeight] | None:
    if prediction.weights_CT is None:
        return None
    weights_T = prediction.weights_CT[position].tolist()
    return [ActivationWeight(item_id, weight) for item_id, weight in zip(behaviours, weights_T, strict=True)]
