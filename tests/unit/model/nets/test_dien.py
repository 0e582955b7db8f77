"""DIEN against a second implementation: plain loops in numpy, one behaviour at a time, from the paper's equations."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dinrank.model.layers.gru import Evolution, Gates
from dinrank.model.layers.inputs import NetworkInputs
from dinrank.model.layers.interest import Pooling
from dinrank.model.layers.steps import Steps
from dinrank.model.nets.config import NetworkConfig
from dinrank.model.nets.dien import DIEN, auxiliary_loss
from dinrank.model.nets.names import NetworkName
from tests.fixtures.networks import SMALL, random_inputs, random_network
from tests.unit.model.nets.test_din import DIVISOR, dense, embed, linear, numbers

Vector = Any  # float64 [·]

CONFIGS = {
    evolution.value: NetworkConfig(embedding_dim=2, tower=(5,), evolution=evolution, interest_pooling=pooling)
    for evolution, pooling in zip(Evolution, Pooling, strict=True)
}


def slow_dien(network: DIEN, inputs: NetworkInputs) -> Vector:
    """logit_UC."""
    num_users, num_candidates = inputs.candidates_UC.shape
    items = {name: indices.numpy() for name, indices in inputs.items.items()}
    request = {name: indices.numpy() for name, indices in inputs.request.items()}
    logit_UC = np.empty((num_users, num_candidates))
    for user in range(num_users):
        is_real = np.ones(inputs.behaviours_UT.shape[1], bool) if inputs.is_real_UT is None else inputs.is_real_UT[user]
        rows = [int(row) for row, real in zip(inputs.behaviours_UT[user], is_real, strict=True) if real]
        behaviours = [embed(network.item_embedding, items, row) for row in rows]
        interests = extract(network, behaviours)
        for candidate in range(num_candidates):
            query = embed(network.item_embedding, items, int(inputs.candidates_UC[user, candidate]))
            pooled = sum(behaviours, np.zeros_like(query)) / DIVISOR[network.pooling](max(len(behaviours), 1))
            evolved = evolve(network, interests, query)
            of_request = embed(network.tower.request_embedding, request, user)
            parts = [query, pooled, query * pooled, evolved, of_request]
            logit_UC[user, candidate] = dense(network.tower.mlp, np.concatenate(parts))
    return logit_UC


def extract(network: DIEN, behaviours: list[Vector]) -> list[Vector]:
    h, interests = np.zeros(network.item_embedding.dim), []
    for behaviour in behaviours:
        u, proposal = update_and_proposal(network.extractor.gates, behaviour, h)
        h = (1 - u) * h + u * proposal
        interests.append(h)
    return interests


def evolve(network: DIEN, interests: list[Vector], query: Vector) -> Vector:
    similarity = np.array([np.exp(h @ linear_without_bias(network.attention.project, query)) for h in interests])
    state, gates = np.zeros(network.item_embedding.dim), network.evolution.gates
    for interest, a in zip(interests, similarity / similarity.sum(), strict=True):
        if network.evolution.evolution is Evolution.AIGRU:
            u, proposal = update_and_proposal(gates, a * interest, state)
        elif network.evolution.evolution is Evolution.AGRU:
            u, proposal = a, update_and_proposal(gates, interest, state)[1]
        else:
            u, proposal = update_and_proposal(gates, interest, state)
            u = a * u
        state = (1 - u) * state + u * proposal
    return state


def update_and_proposal(gates: Gates, x: Vector, h: Vector) -> tuple[Vector, Vector]:
    of_input, of_state = linear(gates.of_input, x), linear_without_bias(gates.of_state, h)
    width = len(h)
    r, u = (1 / (1 + np.exp(-(of_input[part] + of_state[part]))) for part in (slice(width), slice(width, -width)))
    return u, np.tanh(of_input[-width:] + r * of_state[-width:])


def linear_without_bias(layer: torch.nn.Linear, x: Vector) -> Vector:
    assert layer.bias is None
    return numbers(layer.weight) @ x


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("training", [False, True], ids=["at inference", "in training"])
@settings(deadline=None, max_examples=10)
@given(
    num_users=st.integers(1, 3),
    sizes=st.tuples(st.integers(1, 3), st.integers(0, 5)),
    is_padded=st.booleans(),
    seed=st.integers(0, 999),
)
def test_the_network_equals_plain_loops(
    config: NetworkConfig, training: bool, num_users: int, sizes: tuple[int, int], is_padded: bool, seed: int
) -> None:
    """In training too, where gradients are kept; Dice alone stays as at inference."""
    rng = np.random.default_rng(seed)
    is_real_UT = rng.random((num_users, sizes[1])) < 0.6 if is_padded else None
    inputs = random_inputs(rng, is_real_UT=is_real_UT, num_users=num_users, sizes=sizes)
    network = random_network(NetworkName.DIEN, config, seed=seed)
    assert isinstance(network, DIEN)
    network.train(training)
    network.tower.eval()
    with torch.set_grad_enabled(training):
        logit_UC = network(inputs).logit_UC.detach().numpy()
    np.testing.assert_allclose(logit_UC, slow_dien(network, inputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_order_of_behaviours_matters(config: NetworkConfig) -> None:
    """To the evolved interest alone: the other parts of the tower's input do not see it."""
    network = random_network(NetworkName.DIEN, config)
    inputs = random_inputs(np.random.default_rng(3), is_real_UT=None, sizes=(1, 4))
    with torch.no_grad():
        logits = {
            tuple(order): network(inputs._replace(behaviours_UT=inputs.behaviours_UT[:, order])).logit_UC.item()
            for order in ([0, 1, 2, 3], [3, 2, 1, 0])
        }
    assert len(set(inputs.behaviours_UT.flatten().tolist())) > 1
    assert abs(logits[0, 1, 2, 3] - logits[3, 2, 1, 0]) > 1e-4


def test_no_behaviours_compute_the_tower_on_zeros() -> None:
    network = random_network(NetworkName.DIEN)
    assert isinstance(network, DIEN)
    inputs = random_inputs(np.random.default_rng(0), is_real_UT=None, num_users=2, sizes=(3, 0))
    with torch.no_grad():
        query_UCD = network.item_embedding(inputs.items)[inputs.candidates_UC]
        expected_UC = network.tower([query_UCD, *[torch.zeros_like(query_UCD)] * 3], inputs.request)
        assert torch.equal(network(inputs).logit_UC, expected_UC)


def test_the_auxiliary_loss_tells_the_next_behaviour_from_another_item() -> None:
    """With two items the negative is the other one. Behaviours: first user 0, 1, 1 around a hole; second user 1."""
    rows_ID = torch.tensor([[1.0, 2.0], [-1.0, 0.5]])
    behaviours_UT = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 1]])
    is_real_UT = torch.tensor([[True, False, True, True], [False, False, False, True]])
    steps = Steps.of(behaviours_UT, is_real_UT)
    behaviours_P = steps.take(behaviours_UT)
    assert behaviours_P.tolist() == [0, 1, 1, 1]  # the first step of both users, then the rest of the first
    states_PH = torch.tensor([[0.3, 0.1], [9.0, 9.0], [0.2, -0.4], [9.0, 9.0]])

    def cost(h: list[float]) -> float:
        clicked, other = (h[0] * e[0] + h[1] * e[1] for e in ((-1.0, 0.5), (1.0, 2.0)))
        return -math.log(1 / (1 + math.exp(-clicked))) - math.log(1 - 1 / (1 + math.exp(-other)))

    expected = (cost([0.3, 0.1]) + cost([0.2, -0.4])) / 2
    assert auxiliary_loss(states_PH, rows_ID, behaviours_P, steps).item() == pytest.approx(expected, rel=1e-6)


def test_a_negative_is_any_item_but_the_clicked_one() -> None:
    """With items of 100·2^i and states of 1 the loss is the logit of the item drawn, as its σ saturates."""
    torch.manual_seed(0)
    rows_ID = 100.0 * torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    behaviours_UT = torch.tensor([[0, 2]])
    steps = Steps.of(behaviours_UT, torch.ones(1, 2, dtype=torch.bool))
    drawn = [auxiliary_loss(torch.ones(2, 1), rows_ID, steps.take(behaviours_UT), steps).item() for _ in range(300)]
    counts = {value: drawn.count(value) for value in set(drawn)}
    assert counts.keys() == {100.0, 200.0, 800.0}
    assert min(counts.values()) > 60  # of 100 expected


@pytest.mark.parametrize(
    ("num_items", "is_real"), [(3, [True, False]), (3, [False, False]), (1, [True, True])], ids=str
)
def test_with_nothing_to_tell_apart_the_auxiliary_loss_is_0(num_items: int, is_real: list[bool]) -> None:
    behaviours_UT = torch.zeros(1, 2, dtype=torch.int64)
    steps = Steps.of(behaviours_UT, torch.tensor([is_real]))
    behaviours_P = steps.take(behaviours_UT)
    assert auxiliary_loss(torch.ones(len(behaviours_P), 2), torch.ones(num_items, 2), behaviours_P, steps).item() == 0.0


def test_the_auxiliary_loss_is_for_training_and_reaches_extractor_and_items_alone() -> None:
    rng = np.random.default_rng(0)
    inputs = random_inputs(rng, is_real_UT=rng.random((8, 5)) < 0.7, num_users=8, sizes=(1, 5))
    network = random_network(NetworkName.DIEN)
    assert network(inputs).auxiliary_loss is None
    loss = network.train()(inputs).auxiliary_loss
    assert loss is not None
    loss.backward()
    reached = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert reached == {"extractor", "item_embedding"}


def test_attention_adds_up_to_1_over_real_behaviours() -> None:
    network = random_network(NetworkName.DIEN, SMALL)
    assert isinstance(network, DIEN)
    is_real_UT = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])
    steps = Steps.of(torch.zeros_like(is_real_UT, dtype=torch.int64), is_real_UT)
    assert steps.user_P is not None
    dim = network.item_embedding.dim
    with torch.no_grad():
        weights_PC = network.attention(torch.randn(3, dim), torch.randn(3, 2, dim), steps)
    sums_UC = torch.zeros(3, 2).index_add(0, steps.user_P, weights_PC)
    torch.testing.assert_close(sums_UC, torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]))
    assert (weights_PC[steps.user_P == 0] != 1.0).all()
