"""DIN against a second implementation: plain loops in numpy, one pair at a time, from the paper's equations."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dinrank.model.bundle.schema import Group, Kind
from dinrank.model.bundle.vocabulary import PADDING_ID
from dinrank.model.layers.dice import Dice
from dinrank.model.layers.embedding import FeatureEmbedding
from dinrank.model.layers.inputs import NetworkInputs
from dinrank.model.layers.interest import Pooling
from dinrank.model.layers.mlp import MLP, Activation, PReLU
from dinrank.model.nets.config import NetworkConfig
from dinrank.model.nets.din import DIN
from dinrank.model.nets.names import NetworkName
from tests.fixtures.networks import SCHEMA, random_inputs, random_network

Vector = Any  # float64 [·]

CONFIGS = {
    "as the paper's code": NetworkConfig(
        embedding_dim=3, tower=(7, 5), unit=(6, 4), interest_product=False, interest_pooling=Pooling.SUM
    ),
    "with the product": NetworkConfig(
        embedding_dim=2, tower=(5,), unit=(4,), interest_product=True, interest_pooling=Pooling.SQRTN
    ),
    "with PReLU": NetworkConfig(
        embedding_dim=2,
        tower=(5,),
        unit=(3, 3, 3),
        unit_activation=Activation.PRELU,
        tower_activation=Activation.PRELU,
        interest_pooling=Pooling.MEAN,
    ),
    "with ReLU and a linear tower": NetworkConfig(
        embedding_dim=2, tower=(), unit=(3,), unit_activation=Activation.RELU
    ),
}
DIVISOR = {Pooling.SUM: lambda count: 1.0, Pooling.SQRTN: math.sqrt, Pooling.MEAN: float}


def slow_din(network: DIN, inputs: NetworkInputs) -> tuple[Vector, Vector]:
    """logit_UC, and weights_UCT with zeros at padded slots."""
    num_users, num_candidates = inputs.candidates_UC.shape
    num_slots = inputs.behaviours_UT.shape[1]
    items = {name: indices.numpy() for name, indices in inputs.items.items()}
    request = {name: indices.numpy() for name, indices in inputs.request.items()}
    logit_UC = np.empty((num_users, num_candidates))
    weights_UCT = np.zeros((num_users, num_candidates, num_slots))
    for user in range(num_users):
        for candidate in range(num_candidates):
            query = embed(network.item_embedding, items, int(inputs.candidates_UC[user, candidate]))
            interest, count = np.zeros_like(query), 0
            for slot in range(num_slots):
                if inputs.is_real_UT is not None and not inputs.is_real_UT[user, slot]:
                    continue
                key = embed(network.item_embedding, items, int(inputs.behaviours_UT[user, slot]))
                weight = activation_weight(network, query, key)
                weights_UCT[user, candidate, slot] = weight
                interest += weight * key
                count += 1
            interest /= DIVISOR[network.pooling](max(count, 1))
            parts = [query, interest]
            if network.interest_product:
                parts.append(interest * query)
            parts.append(embed(network.tower.request_embedding, request, user))
            logit_UC[user, candidate] = dense(network.tower.mlp, np.concatenate(parts))
    return logit_UC, weights_UCT


def activation_weight(network: DIN, query: Vector, key: Vector) -> float:
    unit = network.unit
    wide = np.concatenate([query, key, query - key, query * key])
    return dense(unit.rest, activate(unit.activation, linear(unit.first, wide)))


def embed(embedding: FeatureEmbedding, indices: Mapping[str, Vector], row: int) -> Vector:
    vectors = []
    for feature in embedding.features:
        table = numbers(embedding.tables[feature.name].weight)
        if feature.kind is Kind.MULTI:
            present = [index for index in indices[feature.name][row] if index != PADDING_ID]
            vectors.append(np.mean(table[present], axis=0) if present else np.zeros(table.shape[1]))
        else:
            vectors.append(table[indices[feature.name][row]])
    return np.concatenate(vectors)


def dense(mlp: MLP, x: Vector) -> float:
    for layer in mlp.hidden:
        x = linear(layer, x) if isinstance(layer, nn.Linear) else activate(layer, x)
    return float(linear(mlp.last, x)[0])


def linear(layer: nn.Linear, x: Vector) -> Vector:
    return numbers(layer.weight) @ x + numbers(layer.bias)


def activate(layer: nn.Module, s: Vector) -> Vector:
    if isinstance(layer, Dice):
        deviation = np.sqrt(numbers(layer.running_var) + 1e-8)
        p = 1 / (1 + np.exp(-(s - numbers(layer.running_mean)) / deviation))
        return p * s + (1 - p) * numbers(layer.alpha) * s
    if isinstance(layer, PReLU):
        return np.where(s > 0, s, numbers(layer.alpha) * s)
    if isinstance(layer, nn.ReLU):
        return np.maximum(s, 0)
    assert isinstance(layer, nn.Dropout)  # off at inference
    return s


def numbers(tensor: Any) -> Vector:
    return tensor.detach().numpy().astype(np.float64)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@settings(deadline=None, max_examples=15)
@given(
    num_users=st.integers(1, 3),
    sizes=st.tuples(st.integers(1, 3), st.integers(0, 5)),
    is_padded=st.booleans(),
    seed=st.integers(0, 999),
)
def test_the_network_equals_plain_loops(
    config: NetworkConfig, num_users: int, sizes: tuple[int, int], is_padded: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    is_real_UT = rng.random((num_users, sizes[1])) < 0.6 if is_padded else None
    inputs = random_inputs(rng, is_real_UT=is_real_UT, num_users=num_users, sizes=sizes)
    network = random_network(NetworkName.DIN, config, seed=seed)
    assert isinstance(network, DIN)
    expected_UC, expected_weights_UCT = slow_din(network, inputs)
    with torch.no_grad():
        output = network(inputs)
    np.testing.assert_allclose(output.logit_UC.numpy(), expected_UC, rtol=1e-4, atol=1e-4)
    if not is_padded:
        np.testing.assert_allclose(output.weights_UCT.numpy(), expected_weights_UCT, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("pooling", "divisor"), [(Pooling.SUM, 1.0), (Pooling.SQRTN, 2.0), (Pooling.MEAN, 4.0)])
def test_with_every_weight_at_1_din_pools_as_the_base_model(pooling: Pooling, divisor: float) -> None:
    """The sum of four behaviours, over 1, √4 or 4."""
    config = NetworkConfig(
        embedding_dim=2, tower=(), unit=(3,), interest_product=False, initial_weight=1.0, interest_pooling=pooling
    )
    network = random_network(NetworkName.DIN, config)
    assert isinstance(network, DIN)
    with torch.no_grad():
        network.unit.rest.last.weight.zero_()
        network.unit.rest.last.bias.fill_(config.initial_weight)
    inputs = random_inputs(np.random.default_rng(0), is_real_UT=None, num_users=2, sizes=(3, 4))
    with torch.no_grad():
        rows_ID = network.item_embedding(inputs.items)
        query_UCD = rows_ID[inputs.candidates_UC]
        pooled_U1D = rows_ID[inputs.behaviours_UT].sum(dim=1, keepdim=True) / divisor
        expected_UC = network.tower([query_UCD, pooled_U1D.expand_as(query_UCD)], inputs.request)
        torch.testing.assert_close(network(inputs).logit_UC, expected_UC)


@pytest.mark.parametrize("interest_product", [False, True])
def test_no_behaviours_compute_the_tower_on_zeros(interest_product: bool) -> None:
    config = NetworkConfig(embedding_dim=2, tower=(4,), unit=(3,), interest_product=interest_product)
    network = random_network(NetworkName.DIN, config)
    assert isinstance(network, DIN)
    inputs = random_inputs(np.random.default_rng(0), is_real_UT=None, num_users=2, sizes=(3, 0))
    with torch.no_grad():
        query_UCD = network.item_embedding(inputs.items)[inputs.candidates_UC]
        zeros = [torch.zeros_like(query_UCD)] * (2 if interest_product else 1)
        assert torch.equal(network(inputs).logit_UC, network.tower([query_UCD, *zeros], inputs.request))


def test_weights_follow_the_behaviours_when_those_are_permuted() -> None:
    network = random_network(NetworkName.DIN)
    inputs = random_inputs(np.random.default_rng(1), is_real_UT=None, num_users=2, sizes=(3, 4))
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        weights_UCT = network(inputs).weights_UCT
        permuted_UCT = network(inputs._replace(behaviours_UT=inputs.behaviours_UT[:, order])).weights_UCT
    assert weights_UCT is not None and permuted_UCT is not None
    torch.testing.assert_close(permuted_UCT, weights_UCT[:, :, order])


def test_every_group_of_features_reaches_the_logit() -> None:
    """Change one index at a time: whichever feature it belongs to, the logit moves."""
    network = random_network(NetworkName.DIN)
    inputs = random_inputs(np.random.default_rng(2), is_real_UT=None, num_users=1, sizes=(1, 2))
    for feature in SCHEMA.features:
        is_item = feature.group is Group.ITEM
        indices = inputs.items if is_item else inputs.request
        changed = {**indices, feature.name: (indices[feature.name] + 1) % feature.num_indices}
        other = inputs._replace(items=changed) if is_item else inputs._replace(request=changed)
        with torch.no_grad():
            before, after = network(inputs).logit_UC, network(other).logit_UC
        assert not torch.equal(before, after), feature.name
