"""Metrics of rankings: counted for answers to callers, not for shadow rankings."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from dinrank.model.bundle.graph import request_input
from dinrank.model.bundle.request import EncodedRequest
from dinrank.model.bundle.schema import FeatureSchema, Group
from dinrank.model.bundle.vocabulary import UNKNOWN_ID
from dinrank.service.errors import StoreFailure
from dinrank.service.scoring.predictor import Prediction
from dinrank.service.scoring.ranking import Part
from dinrank.service.store.protocol import StoredFeatures
from dinrank.service.telemetry.metrics import Stage, Telemetry, WeightSource, declare


class Measures(Protocol):
    """Observer of a `Ranker`."""

    def timed(self, stage: Stage) -> AbstractContextManager[None]:
        """Time a stage of a request."""
        ...

    def store_failed(self, kind: StoreFailure) -> None:
        """Record that a request got nothing, or not everything, from the feature store."""
        ...

    def ranked(
        self,
        prediction: Prediction,
        stored: StoredFeatures,
        degraded: Sequence[Part],
        *,
        encoded: EncodedRequest,
        num_new_ads: int,
    ) -> None:
        """Record a scored request."""
        ...


class Counted:
    """Records to the metrics of `telemetry`, for one model."""

    def __init__(self, telemetry: Telemetry, *, version: str, schema: FeatureSchema) -> None:
        self._telemetry = telemetry
        # Looked up once: a lookup costs as much as counting. Also, the series then exist from the start.
        tally = telemetry.tally
        self._degraded = {part: tally.counter(telemetry.degraded_answers.labels(part)) for part in Part}
        declare(telemetry.store_failures, StoreFailure)
        self._pairs = {source: tally.counter(telemetry.weighed_pairs.labels(source)) for source in WeightSource}
        self._rankings = tally.counter(telemetry.rankings.labels(version))
        self._predicted_ctr = tally.histogram(telemetry.predicted_ctr.labels(version))
        self._unknown_context = {
            request_input(feature): tally.counter(telemetry.unknown_context.labels(feature.name))
            for feature in schema.group(Group.CONTEXT)
        }

    def timed(self, stage: Stage) -> AbstractContextManager[None]:
        return self._telemetry.timed(stage)

    def store_failed(self, kind: StoreFailure) -> None:
        self._telemetry.store_failures.labels(kind).inc()

    def ranked(
        self,
        prediction: Prediction,
        stored: StoredFeatures,
        degraded: Sequence[Part],
        *,
        encoded: EncodedRequest,
        num_new_ads: int,
    ) -> None:
        telemetry = self._telemetry
        self._rankings.inc(1)
        telemetry.candidates.observe(len(prediction.ctr_C))
        telemetry.behaviours.observe(len(stored.behaviours))
        telemetry.unknown_ads.inc(num_new_ads)
        telemetry.malformed_elements.inc(stored.num_malformed)
        for part in degraded:
            self._degraded[part].inc(1)
        if not (degraded or len(stored.behaviours) or stored.profile):
            telemetry.unknown_users.inc(1)
        for name, unknown in self._unknown_context.items():
            if (encoded.inputs[name] == UNKNOWN_ID).any():
                unknown.inc(1)
        self._pairs[WeightSource.TABLE].inc(prediction.num_looked_up)
        self._pairs[WeightSource.COMPUTED].inc(prediction.num_pairs - prediction.num_looked_up)
        self._predicted_ctr.observe_all(prediction.ctr_C)


class Uncounted:
    """Records nothing: only callers' rankings are counted."""

    def timed(self, stage: Stage) -> AbstractContextManager[None]:
        return nullcontext()

    def store_failed(self, kind: StoreFailure) -> None: ...

    def ranked(
        self,
        prediction: Prediction,
        stored: StoredFeatures,
        degraded: Sequence[Part],
        *,
        encoded: EncodedRequest,
        num_new_ads: int,
    ) -> None: ...
