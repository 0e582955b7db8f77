"""Put what the caller sent and what the store knows together into one scoring request."""

from collections.abc import Mapping

from model.bundle.encoding import Attributes, Encoder, UnknownFeatureError
from model.bundle.request import ScoringRequest
from service.errors import UnknownFeature
from service.scoring.ranking import Candidates, RankingTask
from service.store.protocol import StoredFeatures


def assemble(task: RankingTask, stored: StoredFeatures, encoder: Encoder) -> ScoringRequest:
    """Merge request and store into what the bundle encodes.

    Stored attributes count for items that the bundle lacks only: of the others it knows what the model was trained
    with. What the request says about a candidate overrides both.
    """
    behaviours = stored.behaviours
    return ScoringRequest(
        candidates=task.candidates.ad_ids,
        behaviours=behaviours.item_ids,
        profile=stored.profile,
        context=task.context,
        candidate_attributes=_candidate_attributes(task.candidates, stored.ads),
        behaviour_attributes={
            position: attributes
            for position, attributes in behaviours.attributes.items()
            if behaviours.item_ids[position] not in encoder.catalogue
        },
    )


def _candidate_attributes(candidates: Candidates, ads: Mapping[str, Attributes]) -> Mapping[int, Attributes]:
    """By position: what is stored of a new ad, overridden by what the request says."""
    if not ads:
        return candidates.features
    stored = {position: ads[ad_id] for position, ad_id in enumerate(candidates.ad_ids) if ad_id in ads}
    return {
        position: {**stored.get(position, {}), **candidates.features.get(position, {})}
        for position in stored.keys() | candidates.features.keys()
    }


def unknown_feature(task: RankingTask, encoder: Encoder) -> UnknownFeature:
    """Why the encoder refused this request, with the name of the field: the first one at fault.

    Asks the encoder about one value at a time, so that its rules are written down once. Only for requests that were
    refused: it costs more than encoding.
    """
    for position, features in sorted(task.candidates.features.items()):
        for name, value in features.items():
            try:
                encoder.items([task.candidates.ad_ids[position]], {0: {name: value}})
            except UnknownFeatureError as exc:
                return UnknownFeature(str(exc), field=f"candidates.{position}.features.{name}")
    for name, value in task.context.items():
        try:
            encoder.context({name: value})
        except UnknownFeatureError as exc:
            return UnknownFeature(str(exc), field=f"context.{name}")
    raise AssertionError("the encoder refused a request, but none of the values that the caller sent")
