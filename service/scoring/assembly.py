"""Put what the caller sent and what the store knows together into one scoring request."""

from model.bundle.encoding import Attributes, Encoder, UnknownFeatureError
from model.bundle.request import ScoringRequest
from service.errors import UnknownFeature
from service.scoring.ranking import RankingTask
from service.store.protocol import StoredFeatures


def assemble(task: RankingTask, stored: StoredFeatures, encoder: Encoder) -> ScoringRequest:
    """Merge request and store into what the bundle encodes.

    Stored attributes count for items that the bundle lacks only: of the others it knows what the model was trained
    with. What the request says about a candidate overrides both.
    """
    behaviours = encoder.newest(stored.behaviours)
    candidate_attributes: dict[int, Attributes] = {
        position: {**stored.ads.get(candidate.ad_id, {}), **candidate.features}
        for position, candidate in enumerate(task.candidates)
        if candidate.features or candidate.ad_id in stored.ads
    }
    behaviour_attributes = {
        position: behaviour.attributes
        for position, behaviour in enumerate(behaviours)
        if behaviour.attributes and behaviour.item_id not in encoder.catalogue
    }
    return ScoringRequest(
        candidates=[candidate.ad_id for candidate in task.candidates],
        behaviours=[behaviour.item_id for behaviour in behaviours],
        profile=stored.profile,
        context=task.context,
        candidate_attributes=candidate_attributes,
        behaviour_attributes=behaviour_attributes,
    )


def unknown_feature(task: RankingTask, encoder: Encoder) -> UnknownFeature:
    """Why the encoder refused this request, with the name of the field: the first one at fault.

    Asks the encoder about one value at a time, so that its rules are written down once. Only for requests that were
    refused: it costs more than encoding.
    """
    for position, candidate in enumerate(task.candidates):
        for name, value in candidate.features.items():
            try:
                encoder.items([candidate.ad_id], {0: {name: value}})
            except UnknownFeatureError as exc:
                return UnknownFeature(str(exc), field=f"candidates.{position}.features.{name}")
    for name, value in task.context.items():
        try:
            encoder.context({name: value})
        except UnknownFeatureError as exc:
            return UnknownFeature(str(exc), field=f"context.{name}")
    raise AssertionError("the encoder refused a request, but none of the values that the caller sent")
