"""The equations of the networks without attention, computed a second time from their parameters, value by value.

One user, one candidate, exact history: the layouts are the contract suite's business.
"""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dinrank.model.bundle.schema import Feature, Group
from dinrank.model.layers.inputs import NetworkInputs
from dinrank.model.layers.interest import Pooling
from dinrank.model.nets.config import NetworkConfig, Product
from dinrank.model.nets.names import NetworkName
from tests.fixtures.networks import SCHEMA, SMALL, random_inputs, random_network

Array = NDArray[np.float64]
ITEM, REQUEST = SCHEMA.group(Group.ITEM), (*SCHEMA.group(Group.USER), *SCHEMA.group(Group.CONTEXT))
NUM_BEHAVIOURS = 4
NUM_FIELDS = 2 * len(ITEM) + len(REQUEST)


class Oracle:
    """Numbers of a network by parameter name, and the values of one candidate in its request."""

    def __init__(self, network: torch.nn.Module, inputs: NetworkInputs, pooling: Pooling) -> None:
        self.state = {name: value.double().numpy() for name, value in network.state_dict().items()}
        self.network = network
        self.inputs = inputs
        self.divisor = {Pooling.SUM: 1, Pooling.MEAN: NUM_BEHAVIOURS}[pooling]

    def values(self, feature: Feature, row: int) -> list[int]:
        """The indices of a feature that are no padding: of an item or of the one request."""
        source = self.inputs.items if feature.group is Group.ITEM else self.inputs.request
        return [index for index in np.atleast_1d(source[feature.name][row].numpy()).tolist() if index != 0]

    @property
    def candidate(self) -> int:
        return int(self.inputs.candidates_UC[0, 0])

    @property
    def behaviours(self) -> list[int]:
        return self.inputs.behaviours_UT[0].tolist()

    def vector(self, table: str, feature: Feature, row: int) -> Array:
        weight = self.state[f"{table}.tables.{feature.name}.weight"]
        indices = self.values(feature, row)
        return sum((weight[index] for index in indices), np.zeros(weight.shape[1])) / max(1, len(indices))

    def fields(self, candidate: str, behaviour: str, request: str) -> Array:
        """[F, ·] from the tables of that name."""
        return np.stack(
            [
                *(self.vector(candidate, feature, self.candidate) for feature in ITEM),
                *(
                    sum(self.vector(behaviour, feature, row) for row in self.behaviours) / self.divisor
                    for feature in ITEM
                ),
                *(self.vector(request, feature, 0) for feature in REQUEST),
            ]
        )

    def vectors(self) -> Array:
        return self.fields("fields.item_embedding", "fields.item_embedding", "fields.request_embedding")

    def weights(self) -> Array:
        return self.fields("linear.candidate", "linear.behaviour", "linear.request")[:, 0]

    def linear(self) -> float:
        return float(self.state["linear.bias"]) + float(self.weights().sum())

    def dense(self, name: str, x: Array) -> Array:
        """W·x + b."""
        return self.state[f"{name}.weight"] @ x + self.state[f"{name}.bias"]

    def mlp(self, x: Array) -> float:
        """By the network's own MLP, which has its own tests."""
        with torch.no_grad():
            return float(self.network.get_submodule("mlp")(torch.from_numpy(x[None])))

    def hidden(self, x: Array) -> Array:
        with torch.no_grad():
            hidden: Array = self.network.get_submodule("hidden")(torch.from_numpy(x[None]))[0].numpy()
        return hidden

    def cross(self, place: int, first: list[int], second: list[int]) -> float:
        """Mean weight of the pairs of two features' values."""
        weight = self.state["crosses.table.weight"][:, 0]
        buckets = [
            (a * 1_640_531_527 + b * 805_459_861 + (place + 1) * 2_147_483_629) % SMALL.num_hash_buckets + 1
            for a in first
            for b in second
        ]
        return float(sum(weight[bucket] for bucket in buckets)) / max(1, len(buckets))

    def behaviour_crosses(self, pairs: list[tuple[Feature, Feature]], *, first_place: int = 0) -> float:
        return (
            sum(
                self.cross(first_place + place, self.values(first, self.candidate), self.values(second, row))
                for place, (first, second) in enumerate(pairs)
                for row in self.behaviours
            )
            / self.divisor
        )


def lr(oracle: Oracle) -> float:
    return oracle.linear()


def poly2(oracle: Oracle) -> float:
    """Candidate with candidate, candidate with request, candidate with behaviours, each pair of features once."""
    values = oracle.values
    own = [
        *((values(a, oracle.candidate), values(b, oracle.candidate)) for a, b in combinations(ITEM, 2)),
        *((values(a, oracle.candidate), values(b, 0)) for a in ITEM for b in REQUEST),
    ]
    crosses = sum(oracle.cross(place, first, second) for place, (first, second) in enumerate(own))
    return (
        oracle.linear() + crosses + oracle.behaviour_crosses([(a, b) for a in ITEM for b in ITEM], first_place=len(own))
    )


def second_order(vectors: Array) -> float:
    return sum(float(first @ second) for first, second in combinations(vectors, 2))


def fm(oracle: Oracle) -> float:
    return oracle.linear() + second_order(oracle.vectors())


def ffm(oracle: Oracle) -> float:
    parts = oracle.vectors().reshape(NUM_FIELDS, NUM_FIELDS, -1)
    return oracle.linear() + sum(float(parts[f, g] @ parts[g, f]) for f, g in combinations(range(NUM_FIELDS), 2))


def fnn(oracle: Oracle) -> float:
    return oracle.mlp(np.concatenate([[oracle.state["linear.bias"]], oracle.weights(), oracle.vectors().ravel()]))


def pnn_inner(oracle: Oracle) -> float:
    v = oracle.vectors()
    products = [float(v[f] @ v[g]) for f in range(NUM_FIELDS) for g in range(f, NUM_FIELDS)]
    return oracle.mlp(np.concatenate([v.ravel(), products]))


def pnn_outer(oracle: Oracle) -> float:
    v = oracle.vectors()
    products = sum(np.outer(first, second) for first in v for second in v)
    return oracle.mlp(np.concatenate([v.ravel(), np.ravel(products)]))


def wide_deep(oracle: Oracle) -> float:
    wide = oracle.linear() + oracle.behaviour_crosses([(feature, feature) for feature in ITEM])
    return wide + oracle.mlp(oracle.vectors().ravel())


def deep_crossing(oracle: Oracle) -> float:
    x = oracle.vectors().ravel()
    for place in range(len(SMALL.tower)):
        inner = np.maximum(0.0, oracle.dense(f"units.{place}.inner", x))
        x = np.maximum(0.0, x + oracle.dense(f"units.{place}.outer", inner))
    return float(oracle.dense("last", x)[0])


def dcn(oracle: Oracle) -> float:
    x_0 = x = oracle.vectors().ravel()
    for place in range(SMALL.num_cross_layers):
        weight, bias = oracle.state[f"crosses.{place}.weight.weight"][0], oracle.state[f"crosses.{place}.bias"]
        x = x_0 * float(x @ weight) + bias + x
    return float(oracle.dense("last", np.concatenate([x, oracle.hidden(x_0)]))[0])


def nfm(oracle: Oracle) -> float:
    return oracle.linear() + oracle.mlp(sum(first * second for first, second in combinations(oracle.vectors(), 2)))


def deepfm(oracle: Oracle) -> float:
    vectors = oracle.vectors()
    return oracle.linear() + second_order(vectors) + oracle.mlp(vectors.ravel())


def base(oracle: Oracle) -> float:
    return oracle.mlp(oracle.vectors().ravel())


CASES: dict[str, tuple[NetworkName, dict[str, Any], Callable[[Oracle], float]]] = {
    "lr": (NetworkName.LR, {}, lr),
    "poly2": (NetworkName.POLY2, {}, poly2),
    "fm": (NetworkName.FM, {}, fm),
    "ffm": (NetworkName.FFM, {}, ffm),
    "fnn": (NetworkName.FNN, {}, fnn),
    "pnn inner": (NetworkName.PNN, {"product": Product.INNER}, pnn_inner),
    "pnn outer": (NetworkName.PNN, {"product": Product.OUTER}, pnn_outer),
    "wide_deep": (NetworkName.WIDE_DEEP, {}, wide_deep),
    "deep_crossing": (NetworkName.DEEP_CROSSING, {}, deep_crossing),
    "dcn": (NetworkName.DCN, {}, dcn),
    "nfm": (NetworkName.NFM, {}, nfm),
    "deepfm": (NetworkName.DEEPFM, {}, deepfm),
    "base": (NetworkName.BASE, {}, base),
}


@pytest.mark.parametrize("pooling", [Pooling.SUM, Pooling.MEAN])
@pytest.mark.parametrize(("name", "options", "expected"), CASES.values(), ids=CASES)
def test_the_logit_is_that_of_the_equation(
    name: NetworkName, options: dict[str, Any], expected: Callable[[Oracle], float], pooling: Pooling
) -> None:
    config = NetworkConfig(
        embedding_dim=SMALL.embedding_dim,
        tower=SMALL.tower,
        field_aware_dim=SMALL.field_aware_dim,
        num_hash_buckets=SMALL.num_hash_buckets,
        pooling=pooling,
        **options,
    )
    for seed in range(5):
        network = random_network(name, config, seed=seed).double()
        inputs = random_inputs(np.random.default_rng(seed), is_real_UT=None, sizes=(1, NUM_BEHAVIOURS))
        with torch.no_grad():
            found = float(network(inputs).logit_UC)
        assert found == pytest.approx(expected(Oracle(network, inputs, pooling)), rel=1e-9, abs=1e-9)


def test_cases_cover_every_network_without_attention() -> None:
    assert {name for name, _, _ in CASES.values()} == set(NetworkName) - {NetworkName.DIN, NetworkName.DIEN}
