"""The recurrence against a plain loop, one user and candidate at a time, and against torch's own GRU. In float64."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dinrank.model.layers.recurrence import recur
from dinrank.model.layers.steps import Steps

# Legend: U = users, C = candidates per user, T = slots, P = real behaviours step by step, H = width, G = gates.
IS_REAL_UT = torch.tensor(
    [
        [False, True, False, True],
        [False, False, False, False],
        [True, True, True, True],
        [False, False, True, False],
        [True, False, True, True],
    ]
)
WIDTH = 3


def padded_steps() -> Steps:
    return Steps.of(torch.zeros_like(IS_REAL_UT, dtype=torch.int64), IS_REAL_UT)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def arguments(num_gates: int, candidates: tuple[int, int | None]) -> list[Tensor]:
    """Parts, weight and scale; of `candidates`, first those of the parts, then those of the scale."""
    torch.manual_seed(0)
    num_behaviours, of_parts, of_scale = int(IS_REAL_UT.sum()), *candidates
    parts_PXG = random(num_behaviours, of_parts, num_gates * WIDTH)
    weight_GH = random(num_gates * WIDTH, WIDTH)
    return [parts_PXG, weight_GH] + ([] if of_scale is None else [random(num_behaviours, of_scale)])


def slow_states(
    steps: Steps, parts_PXG: Tensor, weight_GH: Tensor, scale_PC: Tensor | None = None
) -> list[list[Tensor]]:
    """Per user the states after each of its behaviours, [C, H] each, from the zero state on."""
    assert steps.user_P is not None
    num_candidates = (parts_PXG if scale_PC is None else scale_PC).shape[1]
    states = [[torch.zeros(num_candidates, WIDTH, dtype=parts_PXG.dtype)] for _ in range(steps.num_users)]
    for position, user in enumerate(steps.user_P.tolist()):
        h, of_h = states[user][-1], states[user][-1] @ weight_GH.t()
        x = parts_PXG[position]
        reset = torch.sigmoid(x[:, :WIDTH] + of_h[:, :WIDTH])
        proposal = torch.tanh(x[:, -WIDTH:] + reset * of_h[:, -WIDTH:])
        update = torch.sigmoid(x[:, WIDTH:-WIDTH] + of_h[:, WIDTH:-WIDTH]) if len(weight_GH) == 3 * WIDTH else 1.0
        scale = 1.0 if scale_PC is None else scale_PC[position, :, None]
        states[user].append((1 - scale * update) * h + scale * update * proposal)
    return states


every_kind = pytest.mark.parametrize(
    ("num_gates", "candidates"),
    [(3, (1, None)), (3, (2, None)), (3, (1, 2)), (3, (2, 2)), (2, (1, 2)), (2, (1, 1))],
    ids=["gru", "parts differ", "scaled", "scaled and parts differ", "no update gate", "one candidate"],
)


@every_kind
def test_last_states_and_their_gradients_equal_a_plain_loop(num_gates: int, candidates: tuple[int, int | None]) -> None:
    inputs, steps = arguments(num_gates, candidates), padded_steps()
    found = steps.restore_users(recur(*with_scale(inputs), steps, every_state=False))
    expected = torch.stack([states[-1] for states in slow_states(steps, *inputs)])
    same_with_gradients(found, expected, inputs)
    assert not found[1].any()  # the user without behaviours


@every_kind
def test_every_state_and_its_gradients_equal_a_plain_loop(num_gates: int, candidates: tuple[int, int | None]) -> None:
    inputs, steps = arguments(num_gates, candidates), padded_steps()
    assert steps.user_P is not None
    found = recur(*with_scale(inputs), steps, every_state=True)
    of_users = [iter(states[1:]) for states in slow_states(steps, *inputs)]
    same_with_gradients(found, torch.stack([next(of_users[user]) for user in steps.user_P.tolist()]), inputs)


@every_kind
@pytest.mark.parametrize("every_state", [False, True])
def test_the_gradients_are_those_of_finite_differences(
    num_gates: int, candidates: tuple[int, int | None], every_state: bool
) -> None:
    inputs = arguments(num_gates, candidates)
    assert torch.autograd.gradcheck(
        lambda *given: recur(*with_scale(list(given)), padded_steps(), every_state=every_state), inputs
    )


@every_kind
@pytest.mark.parametrize("every_state", [False, True])
def test_without_gradients_the_states_are_the_same(
    num_gates: int, candidates: tuple[int, int | None], every_state: bool
) -> None:
    inputs = with_scale(arguments(num_gates, candidates))
    expected = recur(*inputs, padded_steps(), every_state=every_state)
    with torch.no_grad():
        torch.testing.assert_close(recur(*inputs, padded_steps(), every_state=every_state), expected)


def test_the_operator_says_its_shape_without_running() -> None:
    for every_state in (False, True):
        given = (*(each.detach() for each in arguments(3, (1, 2))), 5, padded_steps().counts, every_state)
        torch.library.opcheck(torch.ops.dinrank.recur.default, given, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("num_users", [1, 3])
def test_it_is_torchs_gru_whose_update_gate_says_what_stays(num_users: int) -> None:
    """torch: h' = (1 − z)∘n + z∘h, so z = 1 − u = σ(−(x_u + W_u·h)); its rows are r, z, n."""
    torch.manual_seed(0)
    gru = nn.GRU(4, WIDTH, batch_first=True).double()
    assert isinstance(gru.bias_hh_l0, nn.Parameter)
    behaviours_UTD = random(num_users, 5, 4)
    sign_G = torch.tensor([1.0] * WIDTH + [-1.0] * WIDTH + [1.0] * WIDTH, dtype=torch.float64)
    with torch.no_grad():
        gru.bias_hh_l0.zero_()
        parts_UTG = nn.functional.linear(behaviours_UTD, gru.weight_ih_l0, gru.bias_ih_l0) * sign_G
        steps = Steps.of(torch.zeros(num_users, 5, dtype=torch.int64), None)
        found = recur(steps.take(parts_UTG)[:, None], gru.weight_hh_l0 * sign_G[:, None], None, steps, every_state=True)
        torch.testing.assert_close(found[:, 0], steps.take(gru(behaviours_UTD)[0]))


def test_two_steps_equal_the_formula() -> None:
    """In numpy, H = 1, C = 1: r = σ(x_r + W_r·h), u = σ(x_u + W_u·h), h̃ = tanh(x_h + r·W_h·h), h + a·u·(h̃ − h)."""
    parts, weight, scale = (
        np.array([[0.3, -0.2, 0.5], [-0.4, 0.1, 0.7]]),
        np.array([0.6, -0.9, 0.8]),
        np.array([0.5, 2.0]),
    )
    h = 0.0
    for x, a in zip(parts, scale, strict=True):
        r, u = 1 / (1 + np.exp(-(x[:2] + weight[:2] * h)))
        h = h + a * u * (np.tanh(x[2] + r * weight[2] * h) - h)
    found = recur(
        torch.from_numpy(parts)[:, None],
        torch.from_numpy(weight)[:, None],
        torch.from_numpy(scale)[:, None],
        Steps.of(torch.zeros(1, 2, dtype=torch.int64), None),
        every_state=False,
    )
    assert found.item() == pytest.approx(h, rel=1e-12)


def with_scale(inputs: list[Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
    return inputs[0], inputs[1], inputs[2] if len(inputs) == 3 else None


def same_with_gradients(found: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    torch.testing.assert_close(found, expected)
    grad = torch.randn_like(found)
    of_found, of_expected = (torch.autograd.grad(each, inputs, grad) for each in (found, expected))
    for one, other in zip(of_found, of_expected, strict=True):
        torch.testing.assert_close(one, other)
