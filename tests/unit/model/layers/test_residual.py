import torch

from dinrank.model.layers.residual import ResidualUnit


def test_a_residual_unit_adds_its_input_before_the_last_relu() -> None:
    """x = (1, −5), inner 2·1 − 1·(−5) − 3 = 4, outer (0.5·4 + 1, 0.25·4 − 1): relu(1 + 3, −5 + 0)."""
    unit = ResidualUnit(2, 1)
    with torch.no_grad():
        unit.inner.weight.copy_(torch.tensor([[2.0, -1.0]]))
        unit.inner.bias.fill_(-3.0)
        unit.outer.weight.copy_(torch.tensor([[0.5], [0.25]]))
        unit.outer.bias.copy_(torch.tensor([1.0, -1.0]))
        assert unit(torch.tensor([1.0, -5.0])).tolist() == [4.0, 0.0]
        unit.inner.bias.fill_(-8.0)  # the inner relu gives 0
        assert unit(torch.tensor([1.0, -5.0])).tolist() == [2.0, 0.0]
