"""The tiled unit against the plain one on autograd, and against finite differences."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dinrank.model.layers import kernels, sweep, tiled_unit
from dinrank.model.layers.activation_unit import LocalActivationUnit
from dinrank.model.layers.dice import Dice
from dinrank.model.layers.embedding import take_rows
from dinrank.model.layers.interest import Pairs
from dinrank.model.layers.mlp import Activation

DIM = 3


def unit_of(hidden: tuple[int, ...], seed: int = 0) -> LocalActivationUnit:
    torch.manual_seed(seed)
    unit = LocalActivationUnit(DIM, hidden, activation=Activation.DICE).double()
    with torch.no_grad():
        for parameter in unit.parameters():
            parameter.normal_()
    return unit


def pairs_of(counts: list[int], num_items: int) -> Pairs:
    """So many pairs per candidate, with random items."""
    counts_B = torch.tensor(counts)
    return Pairs(
        behaviour_P=torch.randint(num_items, (int(counts_B.sum()),)),
        candidate_P=torch.arange(len(counts)).repeat_interleave(counts_B),
        first_B=counts_B.cumsum(0) - counts_B,
    )


def plainly(unit: LocalActivationUnit, candidates: Tensor, behaviours: Tensor, pairs: Pairs) -> Tensor:
    weights_P: Tensor = unit(take_rows(candidates, pairs.candidate_P), take_rows(behaviours, pairs.behaviour_P))
    return weights_P


@given(
    # Of few pairs Dice divides by a standard deviation that may be next to nothing, and magnifies rounding.
    counts=st.lists(st.integers(0, 4), min_size=3, max_size=8).filter(lambda counts: sum(counts) > 7),
    hidden=st.sampled_from([(5,), (5, 4), (4, 6, 3)]),
    tile=st.integers(1, 12),
    threads=st.integers(1, 3),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=40)
def test_values_gradients_and_statistics_are_those_of_the_plain_unit(
    counts: list[int], hidden: tuple[int, ...], tile: int, threads: int, seed: int
) -> None:
    """However the pairs are cut into tiles and shared out to threads, tiles of a single pair included."""
    unit = unit_of(hidden, seed)
    pairs = pairs_of(counts, num_items=9)
    found, expected = copy.deepcopy(unit).train(), unit.train()
    query = torch.randn(len(counts), DIM, dtype=torch.float64)
    items = torch.randn(9, DIM, dtype=torch.float64)
    upstream_P = torch.randn(sum(counts), dtype=torch.float64)
    grads = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "TILE", tile)
        patch.setattr(torch, "get_num_threads", lambda: threads)
        patch.setattr(torch, "set_num_threads", lambda number: None)
        for name, each, weigh in (("found", found, LocalActivationUnit.weigh_pairs), ("expected", expected, plainly)):
            inputs = [query.clone().requires_grad_(), items.clone().requires_grad_()]
            weights_P = weigh(each, each.project_candidates(inputs[0]), each.project_behaviours(inputs[1]), pairs)
            weights_P.backward(upstream_P)
            grads[name] = [weights_P.detach(), *(parameter.grad for parameter in (*inputs, *each.parameters()))]
    torch.testing.assert_close(grads["found"], grads["expected"], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(dict(found.named_buffers()), dict(expected.named_buffers()), rtol=1e-9, atol=1e-9)


def test_gradients_are_finite_differences() -> None:
    unit = unit_of((4, 3)).train()
    pairs = pairs_of([3, 0, 4], num_items=5)
    dices = [layer for layer in unit.modules() if isinstance(layer, Dice)]
    linears = [unit.rest.hidden[0], unit.rest.last]
    epsilons = tuple(dice.epsilon for dice in dices)
    rows = [torch.randn(size, DIM + 4, dtype=torch.float64, requires_grad=True) for size in (3, 5)]
    parameters = [
        unit.first.weight[:, -DIM:].detach().contiguous().requires_grad_(),
        *(dice.alpha for dice in dices),
        *(linear.weight for linear in linears),
        *(linear.bias for linear in linears),
    ]
    assert torch.autograd.gradcheck(
        lambda *inputs: tiled_unit._TiledUnit.apply(pairs, epsilons, *inputs)[0], (*rows, *parameters)
    )


def test_training_with_dice_takes_the_tiled_way_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("dinrank.model.layers.activation_unit.weigh_in_tiles", lambda *args: calls.append(args))
    pairs = pairs_of([2, 3], num_items=4)

    def weigh(unit: LocalActivationUnit) -> None:
        query, items = torch.randn(2, DIM).to(unit.first.weight), torch.randn(4, DIM).to(unit.first.weight)
        unit.weigh_pairs(unit.project_candidates(query), unit.project_behaviours(items), pairs)

    weigh(unit_of((4,)).eval())
    weigh(LocalActivationUnit(DIM, (4, 3), activation=Activation.PRELU).train())
    assert not calls
    weigh(unit_of((4,)).train())
    assert len(calls) == 1


def test_the_compiled_sigmoid_is_right_to_single_precision() -> None:
    """By activating with mean 0, standard deviation 1 and α = 0: h = s·sigmoid(s)."""
    s = torch.linspace(-100.0, 100.0, 200_001)[:, None]
    dice_3H = torch.tensor([[0.0], [1.0], [0.0]])
    h = torch.empty_like(s)
    kernels.activate(s.numpy(), dice_3H.numpy(), h.numpy())
    expected = s.double() * torch.sigmoid(s.double())
    torch.testing.assert_close(h.double(), expected, rtol=1e-6, atol=1e-34)
