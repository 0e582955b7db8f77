import numpy as np
import pytest
import torch
from torch import nn

from dinrank.model.layers.dice import Dice
from dinrank.model.layers.mlp import MLP, Activation, PReLU


def test_prelu_gives_the_numbers_by_hand_with_one_alpha_per_unit() -> None:
    prelu = PReLU(2)
    prelu.alpha.data = torch.tensor([0.5, -1.0])
    s = torch.tensor([[[2.0, 2.0], [-2.0, -2.0], [0.0, 0.0]]])
    assert prelu(s).tolist() == [[[2.0, 2.0], [-1.0, 2.0], [0.0, 0.0]]]


def test_prelu_starts_at_a_quarter() -> None:
    assert PReLU(3).alpha.tolist() == [0.25] * 3


@pytest.mark.parametrize(
    ("activation", "layer"), [(Activation.DICE, Dice), (Activation.PRELU, PReLU), (Activation.RELU, nn.ReLU)]
)
def test_each_activation_builds_its_layer(activation: Activation, layer: type[nn.Module]) -> None:
    assert type(activation.build(4)) is layer


def test_two_hidden_layers_equal_the_formula() -> None:
    torch.manual_seed(0)
    mlp = MLP(3, [4, 2], activation=Activation.PRELU).double()
    x = np.random.default_rng(0).normal(size=(5, 2, 3))
    first, second = (layer for layer in mlp.hidden if isinstance(layer, nn.Linear))
    expected = x
    for linear in (first, second):
        s = expected @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
        expected = np.where(s > 0, s, 0.25 * s)
    expected = expected @ mlp.last.weight.detach().numpy().T + mlp.last.bias.detach().numpy()
    found = mlp(torch.from_numpy(x)).detach().numpy()
    assert found.shape == (5, 2, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_without_hidden_layers_it_is_one_linear_layer() -> None:
    mlp = MLP(2, [], activation=Activation.RELU)
    with torch.no_grad():
        mlp.last.weight.copy_(torch.tensor([[2.0, -1.0]]))
        mlp.last.bias.fill_(0.5)
    assert mlp(torch.tensor([[3.0, 4.0]])).tolist() == [[2.5]]


def test_dropout_scales_what_it_keeps_in_training_and_is_off_otherwise() -> None:
    """All hidden units are 1 and count 1: in training each is 0 or 1/(1 − 0.75) = 4, otherwise their sum is 400."""
    mlp = MLP(1, [400], activation=Activation.RELU, dropout=0.75)
    with torch.no_grad():
        for name, parameter in mlp.named_parameters():
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    x = torch.ones(1, 1)
    torch.manual_seed(0)
    total = mlp(x).item()
    num_kept = total / 4
    assert num_kept == round(num_kept)
    # Six standard deviations of a binomial count with p = 1/4.
    assert num_kept == pytest.approx(100, abs=6 * np.sqrt(400 * 0.25 * 0.75))
    assert mlp.eval()(x).item() == 400.0
