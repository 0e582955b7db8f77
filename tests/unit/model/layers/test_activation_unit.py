import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from dinrank.model.layers.activation_unit import LocalActivationUnit
from dinrank.model.layers.mlp import Activation


# Legend: U = users, C = candidates per user, T = behaviours, D = embedding width, P = pairs.
def naive_weights(unit: LocalActivationUnit, query: Tensor, keys: Tensor) -> Tensor:
    """The unit as the paper draws it: concatenate, then one wide first layer."""
    query, keys = query + torch.zeros_like(keys), keys + torch.zeros_like(query)  # broadcast
    wide = torch.cat([query, keys, query - keys, query * keys], dim=-1)
    hidden = unit.activation(F.linear(wide, unit.first.weight, unit.first.bias))
    weights: Tensor = unit.rest(hidden).squeeze(-1)
    return weights


def split_weights(unit: LocalActivationUnit, query: Tensor, keys: Tensor) -> Tensor:
    weights: Tensor = unit(unit.project_candidates(query), unit.project_behaviours(keys))
    return weights


def random_unit(dim: int, hidden: tuple[int, ...], activation: Activation) -> LocalActivationUnit:
    unit = LocalActivationUnit(dim, hidden, activation=activation).double()
    for parameter in unit.parameters():
        torch.nn.init.normal_(parameter)
    return unit


def test_one_pair_gives_the_number_by_hand() -> None:
    """q = 2, k = 3: [q, k, q − k, q∘k] = [2, 3, −1, 6]; times [1, 2, 3, 4] plus 0.5 is 29.5; times 2 plus 1 is 60."""
    unit = LocalActivationUnit(1, [1], activation=Activation.RELU)
    with torch.no_grad():
        unit.first.weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
        unit.first.bias.fill_(0.5)
        unit.rest.last.weight.fill_(2.0)
        unit.rest.last.bias.fill_(1.0)
    assert split_weights(unit, torch.tensor([[2.0]]), torch.tensor([[3.0]])).tolist() == [60.0]


@pytest.mark.parametrize("training", [True, False])
@settings(deadline=None, max_examples=20)
@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 4)),
    dim=st.integers(1, 5),
    hidden=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    activation=st.sampled_from(Activation),
    seed=st.integers(0, 1000),
)
def test_the_split_first_layer_equals_the_wide_one(
    training: bool, sizes: tuple[int, int, int], dim: int, hidden: tuple[int, ...], activation: Activation, seed: int
) -> None:
    torch.manual_seed(seed)
    num_users, num_candidates, num_behaviours = sizes
    unit = random_unit(dim, hidden, activation).train(training)
    query_UC1D = torch.randn(num_users, num_candidates, 1, dim, dtype=torch.float64)
    keys_U1TD = torch.randn(num_users, 1, num_behaviours, dim, dtype=torch.float64)
    found_UCT = split_weights(unit, query_UC1D, keys_U1TD)
    assert found_UCT.shape == (num_users, num_candidates, num_behaviours)
    torch.testing.assert_close(found_UCT, naive_weights(unit, query_UC1D, keys_U1TD), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("activation", Activation)
def test_the_split_first_layer_has_the_gradients_of_the_wide_one(activation: Activation) -> None:
    torch.manual_seed(1)
    unit = random_unit(3, (4, 2), activation)
    query = torch.randn(2, 3, 1, 3, dtype=torch.float64, requires_grad=True)
    keys = torch.randn(2, 1, 5, 3, dtype=torch.float64, requires_grad=True)
    sources = [query, keys, *unit.parameters()]
    weighting = torch.randn(2, 3, 5, dtype=torch.float64)
    wide, split = (
        torch.autograd.grad((weights(unit, query, keys) * weighting).sum(), sources)
        for weights in (naive_weights, split_weights)
    )
    for found, expected in zip(split, wide, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)


def test_pairs_have_the_weights_of_the_broadcast() -> None:
    torch.manual_seed(2)
    unit = random_unit(3, (4, 2), Activation.DICE)  # in training: the same pairs have the same statistics
    query_CD = torch.randn(4, 3, dtype=torch.float64)
    keys_TD = torch.randn(5, 3, dtype=torch.float64)
    weights_CT = split_weights(unit, query_CD[:, None], keys_TD[None])
    candidate_P, behaviour_P = torch.cartesian_prod(torch.arange(4), torch.arange(5)).T
    weights_P = split_weights(unit, query_CD[candidate_P], keys_TD[behaviour_P])
    torch.testing.assert_close(weights_P, weights_CT.flatten(), rtol=1e-9, atol=1e-9)


def test_a_behaviours_weight_does_not_depend_on_the_other_behaviours() -> None:
    """Not normalised: with softmax, a second behaviour would take weight from the first."""
    torch.manual_seed(3)
    unit = random_unit(3, (4, 2), Activation.DICE).eval()
    query = torch.randn(1, 3, dtype=torch.float64)
    keys = torch.randn(6, 3, dtype=torch.float64)
    together = split_weights(unit, query, keys)
    alone = torch.cat([split_weights(unit, query, key[None]) for key in keys])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("initial_weight", [0.0, 1.0])
def test_the_initial_weight_is_the_output_of_a_silent_mlp(initial_weight: float) -> None:
    unit = LocalActivationUnit(2, [3], activation=Activation.PRELU, initial_weight=initial_weight)
    torch.nn.init.zeros_(unit.rest.last.weight)
    assert split_weights(unit, torch.randn(4, 2), torch.randn(4, 2)).tolist() == [initial_weight] * 4


def test_near_zero_vectors_begin_near_the_initial_weight() -> None:
    """Embeddings start small, so that every behaviour begins with about this weight, up to what the biases add."""
    unit = LocalActivationUnit(2, [3], activation=Activation.RELU, initial_weight=1.0)
    torch.nn.init.zeros_(unit.first.bias)
    weights = split_weights(unit, torch.full((4, 2), 1e-4), torch.full((4, 2), 1e-4))
    assert weights.tolist() == pytest.approx([1.0] * 4, abs=1e-3)
