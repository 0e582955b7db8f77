"""Crossed features: a weight for every pair of values, hashed into one table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from dinrank.model.bundle.schema import Feature, FeatureSchema, Group, Kind
from dinrank.model.bundle.vocabulary import PADDING_ID
from dinrank.model.layers.inputs import NetworkInputs
from dinrank.model.layers.interest import Pooling, pair_up

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


# Legend: U = users, C = candidates per user, T = behaviours, I = distinct items, S = slots of several features side by
# side, K = pairs of slots of several crosses side by side, P = pairs of a candidate and a real behaviour of its user,
# B = U·C.
class HashedCrosses(nn.Module):
    """Σ over the crosses of w[h(a, b)], the weight of a pair of values; unrelated pairs may share a bucket.

    Pairs of multi-valued features are averaged, pairs with behaviours are pooled over them. A pair with an empty slot
    has weight 0. All crosses are looked up at once: one by one they cost the exporter about a second each.

    Args:
        num_buckets: for all crosses together. A prime spreads best, as h is linear in both indices.

    Source: hashing as in Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009, without
        signs, as Juan et al., RecSys 2016, section 2 have it for POLY2.
    """

    def __init__(self, crosses: Sequence[Cross], *, num_buckets: int, init_std: float, pooling: Pooling) -> None:
        super().__init__()
        self.num_buckets = num_buckets
        self.pooling = pooling
        self.items = _different(f for cross in crosses for f in (cross.first, cross.second) if f.group is Group.ITEM)
        self.request = _different(cross.second for cross in crosses if cross.second.group is not Group.ITEM)
        own = [(place, cross) for place, cross in enumerate(crosses) if not cross.with_behaviours]
        past = [(place, cross) for place, cross in enumerate(crosses) if cross.with_behaviours]
        self.with_request = _SlotPairs(own, self.items, (*self.items, *self.request)) if own else None
        self.with_behaviours = _SlotPairs(past, self.items, self.items) if past else None
        self.table = nn.Embedding(num_buckets + 1, 1, padding_idx=PADDING_ID, sparse=True)
        with torch.no_grad():
            self.table.weight.normal_(std=init_std)
            self.table.weight[PADDING_ID] = 0.0

    def forward(self, inputs: NetworkInputs) -> Tensor:
        """logit_UC."""
        dtype = self.table.weight.dtype
        items = _Slots.of(self.items, inputs.items, dtype)
        logit_UC = torch.zeros_like(inputs.candidates_UC, dtype=dtype)
        if self.with_request is not None:
            logit_UC = logit_UC + self._of_request(self.with_request, items, inputs)
        if self.with_behaviours is not None:
            first, second = self.with_behaviours.first(items), self.with_behaviours.second(items)
            of_sum = self._sum_behaviours if inputs.is_real_UT is None else self._sum_pairs
            sum_UC1 = of_sum(first, second, inputs)[..., None]
            logit_UC = logit_UC + self.pooling.scale(sum_UC1, inputs.behaviours_UT, inputs.is_real_UT).squeeze(-1)
        return logit_UC

    def _of_request(self, pairs: "_SlotPairs", items: "_Slots", inputs: NetworkInputs) -> Tensor:
        """Candidates with themselves and with their request, [U, C]."""
        candidates = items.at(inputs.candidates_UC)
        second = candidates
        if self.request:
            request = _Slots.of(self.request, inputs.request, candidates.share.dtype)
            second = second.beside(request.unsqueeze(1))
        return self._weights(pairs.first(candidates), pairs.second(second)).sum(dim=2)

    def _sum_behaviours(self, first: "_Slots", second: "_Slots", inputs: NetworkInputs) -> Tensor:
        """[U, C] by broadcasting, every slot being real."""
        candidates, behaviours = first.at(inputs.candidates_UC), second.at(inputs.behaviours_UT)
        # Not as −1, −2: ONNX Runtime 1.31 does not sum over such axes when there are no behaviours.
        return self._weights(candidates.unsqueeze(2), behaviours.unsqueeze(1)).sum(dim=(2, 3))

    def _sum_pairs(self, first: "_Slots", second: "_Slots", inputs: NetworkInputs) -> Tensor:
        """[U, C], over the real slots only."""
        assert inputs.is_real_UT is not None
        pairs = pair_up(inputs.behaviours_UT, inputs.is_real_UT, inputs.candidates_UC.shape[1])
        item_P = inputs.candidates_UC.flatten()[pairs.candidate_P]
        weights_P = self._weights(first.at(item_P), second.at(pairs.behaviour_P)).sum(dim=1)
        sum_B = torch.zeros(inputs.candidates_UC.numel(), dtype=weights_P.dtype)
        return sum_B.index_add(0, pairs.candidate_P, weights_P).view_as(inputs.candidates_UC)

    def _weights(self, first: "_Slots", second: "_Slots") -> Tensor:
        """Each pair's weight times its share of its cross, [..., K] of both sides' parts of the hash."""
        share = first.share * second.share
        bucket = (first.numbers + second.numbers) % self.num_buckets + 1
        weights: Tensor = self.table(torch.where(share > 0, bucket, PADDING_ID)).squeeze(-1)
        return weights * share


class _Slots(NamedTuple):
    """Features' values side by side, a single value as one slot, or a value computed from each, [..., S]; and each
    one's share, 1 / number of its feature's values, 0 in an empty slot, [..., S]."""

    numbers: Tensor
    share: Tensor

    @classmethod
    def of(cls, features: Sequence[Feature], indices: Mapping[str, Tensor], dtype: torch.dtype) -> Self:
        values = [indices[each.name] if each.kind is Kind.MULTI else indices[each.name][:, None] for each in features]
        is_value = [each != PADDING_ID for each in values]
        shares = [each.to(dtype) / each.sum(dim=1, keepdim=True).clamp(min=1) for each in is_value]
        return cls(torch.cat(values, dim=1), torch.cat(shares, dim=1))

    def at(self, positions: Tensor) -> "_Slots":
        return _Slots(self.numbers[positions], self.share[positions])

    def choose(self, slots_K: Tensor) -> "_Slots":
        return _Slots(self.numbers.index_select(-1, slots_K), self.share.index_select(-1, slots_K))

    def unsqueeze(self, axis: int) -> "_Slots":
        return _Slots(self.numbers.unsqueeze(axis), self.share.unsqueeze(axis))

    def beside(self, others: "_Slots") -> "_Slots":
        """Append the others' slots, [U, C, ·] from [U, C, ·] and [U, 1, ·]."""
        num_candidates = self.numbers.shape[1]
        both = ((own, other.expand(-1, num_candidates, -1)) for own, other in zip(self, others, strict=True))
        return _Slots(*(torch.cat(each, dim=2) for each in both))


class _SlotPairs(nn.Module):
    """Pairs of slots in some crosses, and the hash's parts: first and second add up to h before the remainder.

    Args:
        crosses: each with its place among all crosses, which is part of the hash.
        first: features whose slots stand side by side on the first side.
        second: the same for the second side.
    """

    first_K: Tensor
    second_K: Tensor
    of_cross_K: Tensor

    def __init__(
        self, crosses: Sequence[tuple[int, Cross]], first: Sequence[Feature], second: Sequence[Feature]
    ) -> None:
        super().__init__()
        first_slots, second_slots = _slots_by_feature(first), _slots_by_feature(second)
        pairs = [
            (m, n, (place + 1) * _CROSS_FACTOR)
            for place, cross in crosses
            for m in first_slots[cross.first]
            for n in second_slots[cross.second]
        ]
        for name, numbers in zip(("first_K", "second_K", "of_cross_K"), zip(*pairs, strict=True), strict=True):
            self.register_buffer(name, torch.tensor(numbers), persistent=False)

    def first(self, slots: _Slots) -> _Slots:
        chosen = slots.choose(self.first_K)
        return chosen._replace(numbers=chosen.numbers * _FIRST_FACTOR)

    def second(self, slots: _Slots) -> _Slots:
        chosen = slots.choose(self.second_K)
        return chosen._replace(numbers=chosen.numbers * _SECOND_FACTOR + self.of_cross_K)


def _different(features: Iterable[Feature]) -> tuple[Feature, ...]:
    return tuple(dict.fromkeys(features))


def _slots_by_feature(features: Sequence[Feature]) -> dict[Feature, range]:
    """Return each feature's range of slots, side by side."""
    ends = accumulate(each.max_values for each in features)
    return {each: range(end - each.max_values, end) for each, end in zip(features, ends, strict=True)}
