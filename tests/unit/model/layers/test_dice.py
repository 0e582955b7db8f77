import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dinrank.model.layers.dice import Dice
from dinrank.model.layers.mlp import Activation

SIGMOID_OF_1 = 0.7310585786300049


def column(*values: float) -> Tensor:
    """One hidden unit at several positions."""
    return torch.tensor(values)[:, None]


def test_two_positions_give_the_numbers_by_hand() -> None:
    """E = 2, Var = 1, so that s normalises to −1 and 1; with α = 0 the value is p·s."""
    dice = Dice(1)
    expected = [(1 - SIGMOID_OF_1) * 1.0, SIGMOID_OF_1 * 3.0]
    assert dice(column(1.0, 3.0)).flatten().tolist() == pytest.approx(expected, rel=1e-6)


def test_alpha_is_the_slope_where_p_is_zero() -> None:
    """p·s + (1 − p)·α·s with α = 0.5."""
    dice = Dice(1)
    dice.alpha.data.fill_(0.5)
    p = SIGMOID_OF_1
    expected = [(1 - p) * 1.0 + p * 0.5 * 1.0, p * 3.0 + (1 - p) * 0.5 * 3.0]
    assert dice(column(1.0, 3.0)).flatten().tolist() == pytest.approx(expected, rel=1e-6)


def test_alpha_1_is_the_identity() -> None:
    dice = Dice(1)
    dice.alpha.data.fill_(1.0)
    assert dice(column(-4.0, 1.0, 3.0)).flatten().tolist() == pytest.approx([-4.0, 1.0, 3.0], rel=1e-6)


def test_the_variance_of_a_batch_is_the_biased_one() -> None:
    """s = 0, 0, 3 has E = 1 and Var = (1 + 1 + 4)/3 = 2, where the unbiased variance is 3."""
    found = Dice(1)(column(0.0, 0.0, 3.0))[2].item()
    assert found == pytest.approx(3.0 / (1.0 + np.exp(-2.0 / np.sqrt(2.0))), rel=1e-6)


def test_there_is_one_alpha_per_unit_and_it_starts_at_0() -> None:
    assert Dice(5).alpha.tolist() == [0.0] * 5
    built = Activation.DICE.build(3)
    assert [tuple(parameter.shape) for parameter in built.parameters()] == [(3,)]


@settings(deadline=None, max_examples=30)
@given(
    leading=st.lists(st.integers(1, 4), min_size=1, max_size=3).filter(lambda sizes: np.prod(sizes) > 1),
    width=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_statistics_are_taken_per_unit_over_all_leading_dimensions(leading: list[int], width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    s = rng.normal(rng.normal(size=width), rng.uniform(0.5, 3.0, size=width), size=(*leading, width))
    alpha = rng.normal(size=width)
    dice = Dice(width).double()
    dice.alpha.data = torch.from_numpy(alpha)
    expected = np.empty_like(s)
    for unit in range(width):
        values = s[..., unit]
        mean = values.sum() / values.size
        variance = ((values - mean) ** 2).sum() / values.size
        p = 1 / (1 + np.exp(-(values - mean) / np.sqrt(variance + 1e-8)))
        expected[..., unit] = p * values + (1 - p) * alpha[unit] * values
    np.testing.assert_allclose(dice(torch.from_numpy(s)).detach().numpy(), expected, rtol=1e-9, atol=1e-12)


def test_the_averages_are_of_all_batches_until_momentum_weighs_more() -> None:
    """The batches have the means 2, 5 and 11 and the unbiased variances 2, 2 and 8."""
    dice = Dice(1, momentum=0.4)
    dice(column(1.0, 3.0))
    assert (dice.running_mean.item(), dice.running_var.item()) == pytest.approx((2.0, 2.0))
    dice(column(4.0, 6.0))
    assert (dice.running_mean.item(), dice.running_var.item()) == pytest.approx((3.5, 2.0))
    dice(column(9.0, 13.0))
    assert dice.running_mean.item() == pytest.approx(0.6 * 3.5 + 0.4 * 11.0)
    assert dice.running_var.item() == pytest.approx(0.6 * 2.0 + 0.4 * 8.0)


def test_recorded_statistics_count_as_those_of_a_batch() -> None:
    computed, told = Dice(1, momentum=0.4), Dice(1, momentum=0.4)
    for batch in (column(1.0, 3.0, 8.0), column(4.0, 6.0), column(0.0, -2.0, 2.0), column(9.0, 13.0)):
        computed(batch)
        told.record(batch.mean(dim=0), batch.var(dim=0, correction=0), len(batch))
    for name, buffer in told.named_buffers():
        torch.testing.assert_close(buffer, computed.get_buffer(name))


def test_inference_uses_the_moving_averages_and_leaves_them() -> None:
    """With E = 1 and Var = 4, s = 3 normalises to 1 whatever else is in the batch."""
    dice = Dice(1).eval()
    dice.running_mean.fill_(1.0)
    dice.running_var.fill_(4.0)
    alone, among_others = dice(column(3.0))[0, 0], dice(column(3.0, 100.0, -50.0))[0, 0]
    assert alone.item() == pytest.approx(3.0 * SIGMOID_OF_1, rel=1e-6)
    assert alone.item() == among_others.item()
    assert (dice.running_mean.item(), dice.running_var.item()) == (1.0, 4.0)


def test_a_single_position_in_training_uses_the_moving_averages_and_leaves_them() -> None:
    dice = Dice(1)
    dice.running_mean.fill_(1.0)
    dice.running_var.fill_(4.0)
    assert dice(column(3.0)).item() == pytest.approx(3.0 * SIGMOID_OF_1, rel=1e-6)
    assert dice(torch.tensor([[[3.0]]])).item() == pytest.approx(3.0 * SIGMOID_OF_1, rel=1e-6)
    assert (dice.running_mean.item(), dice.running_var.item()) == (1.0, 4.0)


@pytest.mark.parametrize("training", [True, False])
def test_no_position_gives_no_value(training: bool) -> None:
    assert Dice(3).train(training)(torch.empty(2, 0, 3)).shape == (2, 0, 3)


def test_a_unit_that_never_varies_stays_finite() -> None:
    """Var = 0: s − E is 0, p is one half."""
    s = column(5.0, 5.0, 5.0).requires_grad_()
    values = Dice(1)(s)
    values.sum().backward()
    assert values.flatten().tolist() == pytest.approx([2.5, 2.5, 2.5])
    assert s.grad is not None and bool(s.grad.isfinite().all())


@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_the_formulas(training: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    s = torch.randn(4, 3, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    alpha = torch.randn(2, generator=generator, dtype=torch.float64, requires_grad=True)
    dice = Dice(2).double().train(training)

    def forward(s: Tensor, alpha: Tensor) -> Tensor:
        value: Tensor = torch.func.functional_call(dice, {"alpha": alpha}, (s,))
        return value

    assert torch.autograd.gradcheck(forward, (s, alpha))
