import torch

from dinrank.model.layers.cross import CrossLayer


def test_a_cross_layer_multiplies_the_input_with_a_learned_sum_and_adds_bias_and_previous_layer() -> None:
    """x₀ = (1, 2), x = (3, 4), w = (5, 6), b = (7, 8): x·w = 39, so (1·39 + 7 + 3, 2·39 + 8 + 4)."""
    layer = CrossLayer(2)
    with torch.no_grad():
        layer.weight.weight.copy_(torch.tensor([[5.0, 6.0]]))
        layer.bias.copy_(torch.tensor([7.0, 8.0]))
        crossed = layer(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    assert crossed.tolist() == [49.0, 90.0]
