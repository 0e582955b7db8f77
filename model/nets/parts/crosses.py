"""Crossed features: a weight for every pair of values, hashed into one table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.bundle.schema import Feature, FeatureSchema, Group, Kind
from model.bundle.vocabulary import PADDING_ID
from model.layers.interest import Pairs, Pooling, pair_up
from model.nets.inputs import NetworkInputs

_FIRST_FACTOR, _SECOND_FACTOR, _CROSS_FACTOR = 1_640_531_527, 805_459_861, 2_147_483_629  # odd, below 2³¹


@dataclass(frozen=True, slots=True)
class Cross:
    """A feature of the candidate with another feature: of the candidate, of the behaviours or of the request."""

    first: Feature
    second: Feature
    with_behaviours: bool = False


def behaviour_crosses(schema: FeatureSchema) -> tuple[Cross, ...]:
    """Each item feature of the candidate with the same feature of every behaviour."""
    return tuple(Cross(feature, feature, with_behaviours=True) for feature in schema.group(Group.ITEM))


def all_crosses(schema: FeatureSchema) -> tuple[Cross, ...]:
    """Every pair of features in which the candidate takes part."""
    items = schema.group(Group.ITEM)
    request = (*schema.group(Group.USER), *schema.group(Group.CONTEXT))
    return (
        *(Cross(first, second) for place, first in enumerate(items) for second in items[place + 1 :]),
        *(Cross(first, second) for first in items for second in request),
        *(Cross(first, second, with_behaviours=True) for first in items for second in items),
    )


# Legend: U = users, C = candidates per user, T = behaviours, M, N = slots of the first and the second feature,
# P = pairs of a candidate and a real behaviour of its user, B = U·C.
class HashedCrosses(nn.Module):
    """Σ over the crosses of w[h(a, b)], the weight of a pair of values; unrelated pairs may share a bucket.

    Pairs of multi-valued features are averaged, pairs with behaviours are pooled over them. A pair with an empty slot
    weighs nothing.

    Args:
        num_buckets: of all crosses together. A prime spreads best, as h is linear in both indices.

    Source: hashing as in Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009, without
        signs, as Juan et al., RecSys 2016, section 2 have it for POLY2.
    """

    def __init__(self, crosses: Sequence[Cross], *, num_buckets: int, init_std: float, pooling: Pooling) -> None:
        super().__init__()
        self.crosses = tuple(crosses)
        self.num_buckets = num_buckets
        self.pooling = pooling
        self.table = nn.Embedding(num_buckets + 1, 1, padding_idx=PADDING_ID, sparse=True)
        with torch.no_grad():
            self.table.weight.normal_(std=init_std)
            self.table.weight[PADDING_ID] = 0.0

    def forward(self, inputs: NetworkInputs) -> Tensor:
        """logit_UC."""
        pairs = None
        if inputs.is_real_UT is not None:
            pairs = pair_up(inputs.behaviours_UT, inputs.is_real_UT, inputs.candidates_UC.shape[1])
        logit_UC = torch.zeros_like(inputs.candidates_UC, dtype=self.table.weight.dtype)
        for place, cross in enumerate(self.crosses):
            if not cross.with_behaviours:
                of_cross_UC = self._of_request(place, cross, inputs)
            elif pairs is None:
                of_cross_UC = self._of_behaviours(place, cross, inputs)
            else:
                of_cross_UC = self._of_pairs(place, cross, inputs, pairs)
            logit_UC = logit_UC + of_cross_UC
        return logit_UC

    def _of_request(self, place: int, cross: Cross, inputs: NetworkInputs) -> Tensor:
        first = _Slots.of(cross.first, inputs.items).at(inputs.candidates_UC)
        if cross.second.group is Group.ITEM:
            second = _Slots.of(cross.second, inputs.items).at(inputs.candidates_UC)
        else:
            second = _Slots.of(cross.second, inputs.request).unsqueeze(1)
        return self._weights(place, first, second)

    def _of_behaviours(self, place: int, cross: Cross, inputs: NetworkInputs) -> Tensor:
        """By broadcasting, every slot being real."""
        first = _Slots.of(cross.first, inputs.items).at(inputs.candidates_UC).unsqueeze(2)
        second = _Slots.of(cross.second, inputs.items).at(inputs.behaviours_UT).unsqueeze(1)
        return self._pool(self._weights(place, first, second).sum(dim=2), inputs)

    def _of_pairs(self, place: int, cross: Cross, inputs: NetworkInputs, pairs: Pairs) -> Tensor:
        """Over the real slots only."""
        first = _Slots.of(cross.first, inputs.items).at(inputs.candidates_UC.flatten()[pairs.candidate_P])
        second = _Slots.of(cross.second, inputs.items).at(pairs.behaviour_P)
        weights_P = self._weights(place, first, second)
        sum_B = torch.zeros(inputs.candidates_UC.numel(), dtype=weights_P.dtype)
        sum_B = sum_B.index_add(0, pairs.candidate_P, weights_P)
        return self._pool(sum_B.view_as(inputs.candidates_UC), inputs)

    def _pool(self, sum_UC: Tensor, inputs: NetworkInputs) -> Tensor:
        return self.pooling.scale(sum_UC[..., None], inputs.behaviours_UT, inputs.is_real_UT).squeeze(-1)

    def _weights(self, place: int, first: "_Slots", second: "_Slots") -> Tensor:
        """Mean weight of the pairs of slots, [...]."""
        a, b = first.values[..., :, None], second.values[..., None, :]
        bucket = (a * _FIRST_FACTOR + b * _SECOND_FACTOR + (place + 1) * _CROSS_FACTOR) % self.num_buckets + 1
        is_pair = (a != PADDING_ID) & (b != PADDING_ID)
        weights: Tensor = self.table(torch.where(is_pair, bucket, PADDING_ID))
        # Not as −1, −2, −3: ONNX Runtime 1.31 does not sum over such axes when there are no behaviours.
        axes = tuple(range(weights.dim() - 3, weights.dim()))
        return weights.sum(dim=axes) / (first.num_values * second.num_values)


class _Slots(NamedTuple):
    """A feature's values, [..., M], a single value as one slot, and their number, at least 1, [...]."""

    values: Tensor
    num_values: Tensor

    @classmethod
    def of(cls, feature: Feature, indices: Mapping[str, Tensor]) -> "_Slots":
        values = indices[feature.name] if feature.kind is Kind.MULTI else indices[feature.name][:, None]
        return cls(values, (values != PADDING_ID).sum(dim=-1).clamp(min=1))

    def at(self, positions: Tensor) -> "_Slots":
        return _Slots(self.values[positions], self.num_values[positions])

    def unsqueeze(self, axis: int) -> "_Slots":
        return _Slots(self.values.unsqueeze(axis), self.num_values.unsqueeze(axis))
