"""The activation unit on all pairs of a training batch, in tiles that stay in the processor's cache.

A batch has tens of thousands of pairs, and autograd writes and reads a matrix of them at every operation: it is
bound by memory, not arithmetic. Here compiled loops and matrix products alternate on a tile of pairs. Only the
pre-activations of the hidden layers and their gradients are kept for all pairs; the rest is recomputed. Dice takes
its statistics over all pairs, so every hidden layer sweeps over all tiles, forward and backward.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dinrank.model.layers import kernels
from dinrank.model.layers.dice import Dice
from dinrank.model.layers.interest import Pairs
from dinrank.model.layers.sweep import num_tiles, sweep, tiles_in

Array = NDArray[Any]
Fill = Callable[[slice, Tensor], None]  # writes the rows of a tile
Gradient = Callable[[slice], Tensor]  # the gradient of the rows of a tile


# Legend: P = pairs, N = tiles, B = candidates, I = distinct items, D = embedding width, H = width of a hidden layer,
# X = D + H, O = outputs of the linear layer that follows. Names without a suffix are of one tile: s before
# Dice, h after it.
def weigh_in_tiles(
    candidates_BX: Tensor,
    behaviours_IX: Tensor,
    pairs: Pairs,
    product_weight_HD: Tensor,
    dices: Sequence[Dice],
    linears: Sequence[nn.Linear],
) -> Tensor:
    """Return raw activation weights of all pairs, [P], differentiable in everything; the Dices record their statistics.

    Args:
        candidates_BX, behaviours_IX: vector and part of the first layer side by side, from
            `LocalActivationUnit.project_candidates` and `project_behaviours`.
        pairs: at least two.
        product_weight_HD: W_p, the first layer's weights for q∘k.
        dices: the activations of the hidden layers.
        linears: the layer after each of them; the last one has one output.
    """
    weights_P, *moments = _TiledUnit.apply(  # type: ignore[no-untyped-call]
        pairs,
        tuple(dice.epsilon for dice in dices),
        candidates_BX,
        behaviours_IX,
        product_weight_HD,
        *(dice.alpha for dice in dices),
        *(linear.weight for linear in linears),
        *(linear.bias for linear in linears),
    )
    for dice, mean, variance in zip(dices, moments[::2], moments[1::2], strict=True):
        dice.record(mean, variance, len(weights_P))
    result: Tensor = weights_P
    return result


class _TiledUnit(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        pairs: Pairs,
        epsilons: Sequence[float],
        candidates_BX: Tensor,
        behaviours_IX: Tensor,
        product_weight_HD: Tensor,
        *of_layers: Tensor,
    ) -> tuple[Tensor, ...]:
        depth = len(epsilons)
        detached = [parameter.detach() for parameter in of_layers]
        alphas, weights, biases = (detached[depth * kind : depth * (kind + 1)] for kind in range(3))
        num_pairs = len(pairs.candidate_P)
        meeting = _Meeting(
            _array(candidates_BX),
            _array(behaviours_IX),
            _array(pairs.candidate_P),
            _array(pairs.behaviour_P),
            product_weight_HD.detach(),
        )
        layers: list[_Layer] = []
        fill: Fill = meeting.fill
        for alpha, epsilon, weight, bias in zip(alphas, epsilons, weights, biases, strict=True):
            layers.append(_Layer.measured(candidates_BX.new_empty(num_pairs, len(alpha)), fill, alpha, epsilon))
            fill = layers[-1].then(weight, bias)
        weights_P1 = candidates_BX.new_empty(num_pairs, 1)

        def work(tiles: range) -> None:
            for _, rows in tiles_in(tiles, num_pairs):
                fill(rows, weights_P1[rows])

        sweep(num_pairs, work)
        ctx.meeting, ctx.layers, ctx.weights = meeting, layers, weights
        recorded = [moment for layer in layers for moment in (layer.mean_H, layer.variance_H)]
        ctx.mark_non_differentiable(*recorded)
        return weights_P1[:, 0], *recorded

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_P: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """From the last linear layer down: `gradient` is that of the pre-activations above."""
        gradient: Gradient = grad_P[:, None].contiguous().__getitem__
        of_layers = []
        for layer, weight in zip(reversed(ctx.layers), reversed(ctx.weights), strict=True):
            gradient, *of_layer = layer.back(weight, gradient)
            of_layers.append(of_layer)
        alphas, weights, biases = zip(*reversed(of_layers), strict=True)
        return None, None, *ctx.meeting.back(gradient), *alphas, *weights, *biases


class _Meeting(NamedTuple):
    """The first hidden layer's pre-activations, from the rows of a pair."""

    candidates_BX: Array
    behaviours_IX: Array
    candidate_P: Array
    behaviour_P: Array
    weight_HD: Tensor

    def fill(self, rows: slice, s: Tensor) -> None:
        s.addmm_(self._meet(rows, s.numpy()), self.weight_HD.t())

    def back(self, gradient: Gradient) -> tuple[Tensor, ...]:
        """The gradients of candidates, behaviours and weight."""
        num_pairs = len(self.candidate_P)

        def work(tiles: range) -> tuple[Tensor, ...]:
            of_candidates, of_behaviours = np.zeros_like(self.candidates_BX), np.zeros_like(self.behaviours_IX)
            of_weight = torch.zeros_like(self.weight_HD)
            for _, rows in tiles_in(tiles, num_pairs):
                grad_s = gradient(rows)
                of_weight.addmm_(grad_s.t(), self._meet(rows, grad_s.numpy()[:, :0]))
                grad_product = torch.mm(grad_s, self.weight_HD)
                kernels.part(*self._named(rows), grad_product.numpy(), grad_s.numpy(), of_candidates, of_behaviours)
            return torch.from_numpy(of_candidates), torch.from_numpy(of_behaviours), of_weight

        return _added(sweep(num_pairs, work))

    def _meet(self, rows: slice, s: Array) -> Tensor:
        """Return q∘k; write to `s` the sum of the rows' parts of the layer, as many of them as it has columns."""
        product = self.weight_HD.new_empty(len(s), self.weight_HD.shape[1])
        kernels.meet(*self._named(rows), product.numpy(), s)
        return product

    def _named(self, rows: slice) -> tuple[Array, Array, Array, Array]:
        return self.candidates_BX, self.behaviours_IX, self.candidate_P[rows], self.behaviour_P[rows]


class _Layer(NamedTuple):
    """A hidden layer over all pairs.

    Attributes:
        s_PH: its pre-activations.
        dice_3H: their mean, 1 / √(variance + ε) and α, as the kernels take them.
        mean_H, variance_H: what Dice's moving averages take; the variance is the biased one.
    """

    s_PH: Tensor
    dice_3H: Array
    mean_H: Tensor
    variance_H: Tensor

    @classmethod
    def measured(cls, s_PH: Tensor, fill: Fill, alpha: Tensor, epsilon: float) -> "_Layer":
        """Fill `s_PH` and take its moments, from those of the tiles.

        Source: Chan et al., "Algorithms for Computing the Sample Variance", The American Statistician 37 (1983).
        """
        num_pairs = len(s_PH)
        counts_N1 = np.zeros((num_tiles(num_pairs), 1))
        moments_N2H = np.empty((len(counts_N1), 2, len(alpha)), dtype=s_PH.numpy().dtype)

        def work(tiles: range) -> None:
            for tile, rows in tiles_in(tiles, num_pairs):
                s = s_PH[rows]
                fill(rows, s)
                kernels.measure(s.numpy(), moments_N2H[tile])
                counts_N1[tile] = len(s)

        sweep(num_pairs, work)
        means_NH, squares_NH = moments_N2H.astype(np.float64).swapaxes(0, 1)
        mean_H = (counts_N1 * means_NH).sum(axis=0) / num_pairs
        variance_H = (squares_NH + counts_N1 * (means_NH - mean_H) ** 2).sum(axis=0) / num_pairs
        dice_3H = np.stack([mean_H, 1.0 / np.sqrt(variance_H + epsilon), alpha.numpy()])
        mean, variance = (torch.from_numpy(moment).to(s_PH.dtype) for moment in (mean_H, variance_H))
        return cls(s_PH, dice_3H.astype(moments_N2H.dtype), mean, variance)

    def then(self, weight_OH: Tensor, bias_O: Tensor) -> Fill:
        """The linear layer that follows."""
        s_array = self.s_PH.numpy()

        def fill(rows: slice, out: Tensor) -> None:
            h = torch.empty_like(self.s_PH[rows])
            kernels.activate(s_array[rows], self.dice_3H, h.numpy())
            torch.addmm(bias_O, h, weight_OH.t(), out=out)

        return fill

    def back(self, weight_OH: Tensor, gradient: Gradient) -> tuple[Any, ...]:
        """The gradient of the pre-activations, and those of α and of weight and bias of the linear layer that follows.

        Args:
            gradient: of that linear layer's output.
        """
        num_pairs, width = self.s_PH.shape
        g_PH = torch.empty_like(self.s_PH)
        s_array, g_array = self.s_PH.numpy(), g_PH.numpy()
        sums_N3H = np.zeros((num_tiles(num_pairs), 3, width), dtype=self.dice_3H.dtype)

        def work(tiles: range) -> tuple[Tensor, ...]:
            of_weight, of_bias = torch.zeros_like(weight_OH), weight_OH.new_zeros(len(weight_OH))
            for tile, rows in tiles_in(tiles, num_pairs):
                above, g = gradient(rows), g_PH[rows]
                torch.mm(above, weight_OH, out=g)
                h = torch.empty_like(g)
                kernels.activate_and_sum(s_array[rows], g_array[rows], self.dice_3H, h.numpy(), sums_N3H[tile])
                of_weight.addmm_(above.t(), h)
                of_bias += above.sum(dim=0)
            return of_weight, of_bias

        of_weight, of_bias = _added(sweep(num_pairs, work))
        sums_3H = sums_N3H.sum(axis=0)
        means_3H = sums_3H / num_pairs

        def gradient_below(rows: slice) -> Tensor:
            grad_s = torch.empty_like(self.s_PH[rows])
            kernels.differentiate(s_array[rows], g_array[rows], self.dice_3H, means_3H, grad_s.numpy())
            return grad_s

        return gradient_below, torch.from_numpy(sums_3H[0]), of_weight, of_bias


def _added(of_threads: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.stack(gradients).sum(dim=0) for gradients in zip(*of_threads, strict=True))


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().numpy()
    return array
