"""One scoring request in raw values, and the graph's inputs made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model.bundle.encoding import Attributes, Encoder, Indices
from model.bundle.graph import behaviour_input, candidate_input, request_input
from model.bundle.schema import Group
from model.bundle.vocabulary import RawScalar


@dataclass(frozen=True, slots=True)
class ScoringRequest:
    """Everything that decides the CTRs of one request, in raw values.

    Attributes:
        behaviours: item ids, oldest first.
        candidate_attributes: raw item attributes by position, for candidates that bring their own.
        behaviour_attributes: the same for behaviours.
    """

    candidates: Sequence[RawScalar]
    behaviours: Sequence[RawScalar]
    profile: Attributes
    context: Attributes
    candidate_attributes: Mapping[int, Attributes]
    behaviour_attributes: Mapping[int, Attributes]


def encode_request(encoder: Encoder, request: ScoringRequest) -> dict[str, Indices]:
    """The graph's inputs for one request, see `graph_inputs`. Behaviours beyond the maximum are cut, oldest first.

    Raises:
        UnknownFeatureError: the request names a feature that the model lacks.
    """
    used = encoder.newest(request.behaviours)
    dropped = len(request.behaviours) - len(used)
    attributes = {
        position - dropped: values for position, values in request.behaviour_attributes.items() if position >= dropped
    }
    candidates = encoder.items(request.candidates, request.candidate_attributes)
    behaviours = encoder.items(used, attributes)
    of_request = encoder.users(request.profile) | encoder.context(request.context)
    schema = encoder.schema
    item_features = schema.group(Group.ITEM)
    return {
        **{candidate_input(feature): candidates[feature.name] for feature in item_features},
        **{behaviour_input(feature): behaviours[feature.name] for feature in item_features},
        **{
            request_input(feature): of_request[feature.name]
            for feature in (*schema.group(Group.USER), *schema.group(Group.CONTEXT))
        },
    }
