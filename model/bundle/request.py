"""One scoring request in raw values, and the graph's inputs for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dinrank.model.bundle.encoding import Attributes, Encoder, Indices
from dinrank.model.bundle.graph import behaviour_input, candidate_input, request_input
from dinrank.model.bundle.schema import Group
from dinrank.model.bundle.vocabulary import RawScalar


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


OVERRIDDEN_ROW = -1  # of an item with attributes of its own: its catalogue row does not apply


# Legend: C = candidates, T = behaviours.
@dataclass(frozen=True, slots=True)
class EncodedRequest:
    """One request as the graph takes it.

    Attributes:
        inputs: the graph's inputs, see `graph_inputs`.
        candidate_rows: [C], the candidates' rows in the catalogue, or OVERRIDDEN_ROW.
        behaviour_rows: [T], the same for the behaviours used, oldest first.
    """

    inputs: Mapping[str, Indices]
    candidate_rows: Indices
    behaviour_rows: Indices


def encode_request(
    encoder: Encoder, request: ScoringRequest, *, rows: tuple[Indices, Indices] | None = None
) -> EncodedRequest:
    """Encode raw values as indices. Behaviours beyond the maximum are cut, oldest first.

    Args:
        rows: the catalogue's rows of all candidates and of all behaviours, if the caller has looked them up.

    Raises:
        UnknownFeatureError: the request names a feature that the model lacks.
    """
    candidate_rows, behaviour_rows = rows or map(encoder.catalogue.rows, (request.candidates, request.behaviours))
    dropped = max(0, len(behaviour_rows) - encoder.schema.max_behaviours)
    behaviour_rows = behaviour_rows[dropped:]
    attributes = {
        position - dropped: values for position, values in request.behaviour_attributes.items() if position >= dropped
    }
    candidates = encoder.items_at(candidate_rows, request.candidate_attributes)
    behaviours = encoder.items_at(behaviour_rows, attributes)
    of_request = encoder.users(request.profile) | encoder.context(request.context)
    schema = encoder.schema
    item_features = schema.group(Group.ITEM)
    inputs = {
        **{candidate_input(feature): candidates[feature.name] for feature in item_features},
        **{behaviour_input(feature): behaviours[feature.name] for feature in item_features},
        **{
            request_input(feature): of_request[feature.name]
            for feature in (*schema.group(Group.USER), *schema.group(Group.CONTEXT))
        },
    }
    return EncodedRequest(
        inputs=inputs,
        candidate_rows=_without(candidate_rows, request.candidate_attributes),
        behaviour_rows=_without(behaviour_rows, attributes),
    )


def _without(rows: Indices, attributes: Mapping[int, Attributes]) -> Indices:
    if not attributes:
        return rows
    rows = rows.copy()
    rows[[position for position, values in attributes.items() if values]] = OVERRIDDEN_ROW
    return rows
