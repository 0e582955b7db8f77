"""Constant folding at inference: Dice's constants go into the linear layers on both sides of it."""

import copy
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinrank.model.layers.activation_unit import LocalActivationUnit
from dinrank.model.layers.dice import Dice
from dinrank.model.layers.mlp import MLP

LEAST_GATE = 1e-6  # least 1 − α: Dice is then the identity to within a millionth of s


# Legend: H = width of a hidden layer, I = its inputs, O = outputs of the linear layer that follows.
class FoldedDice(nn.Module):
    """(y + shift)·(sigmoid(y) + offset), which is Dice up to a factor per unit, held by the next linear layer.

    With the moving averages as constants, r = 1 / √(Var[s] + ε) and y = (s − E[s])·r:

        Dice(s) = s·(α + (1 − α)·sigmoid(y)) = (1 − α)/r · (y + E[s]·r)·(sigmoid(y) + α/(1 − α))
    """

    def __init__(self, shift_H: Tensor, offset_H: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift_H", shift_H)
        self.register_buffer("offset_H", offset_H)
        self.shift_H: Tensor
        self.offset_H: Tensor

    def forward(self, y: Tensor) -> Tensor:
        return (y + self.shift_H) * (torch.sigmoid(y) + self.offset_H)


class Fold(NamedTuple):
    """A Dice split in three, computed in float64.

    Attributes:
        scale_H, mean_H: of the linear layer before: y = (s − mean)·scale.
        activation: between the two.
        factor_H: of the inputs of the linear layer after.
    """

    scale_H: Tensor
    mean_H: Tensor
    activation: FoldedDice
    factor_H: Tensor

    @classmethod
    def of(cls, dice: Dice) -> "Fold":
        mean_H, variance_H, alpha_H = (
            tensor.detach().double() for tensor in (dice.running_mean, dice.running_var, dice.alpha)
        )
        scale_H = torch.rsqrt(variance_H + dice.epsilon)
        gate_H = 1.0 - alpha_H
        # α/(1 − α) is undefined at α = 1.
        gate_H = torch.where(gate_H.abs() < LEAST_GATE, torch.full_like(gate_H, LEAST_GATE), gate_H)
        activation = FoldedDice((mean_H * scale_H).float(), ((1.0 - gate_H) / gate_H).float())
        return cls(scale_H, mean_H, activation, gate_H / scale_H)


class FoldedMLP(nn.Module):
    """The same function as trained layers at inference, with Dices folded and dropout removed."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result

    @classmethod
    def of(cls, mlp: MLP, *, factor_I: Tensor | None = None) -> "FoldedMLP":
        """Fold a trained MLP.

        Args:
            factor_I: of its inputs, from a fold before it; float64.
        """
        return cls.of_layers([*mlp.hidden, mlp.last], factor_I=factor_I)

    @classmethod
    def of_layers(cls, layers: Iterable[nn.Module], *, factor_I: Tensor | None = None) -> "FoldedMLP":
        """Fold linear layers, each with an optional activation behind it. The factor of a Dice at the end remains."""
        trained = [layer for layer in layers if not isinstance(layer, nn.Dropout)]
        served: list[nn.Module] = []
        for layer, next_layer in zip(trained, [*trained[1:], None], strict=True):
            if isinstance(layer, nn.Linear):
                weight_OI, bias_O = layer.weight.detach().double(), layer.bias.detach().double()
                if factor_I is not None:
                    weight_OI, factor_I = weight_OI * factor_I, None
                if isinstance(next_layer, Dice):
                    fold = Fold.of(next_layer)
                    weight_OI, bias_O = weight_OI * fold.scale_H[:, None], (bias_O - fold.mean_H) * fold.scale_H
                served.append(fixed_linear(weight_OI, bias_O))
            elif isinstance(layer, Dice):
                fold = Fold.of(layer)
                served.append(fold.activation)
                factor_I = fold.factor_H
            else:
                served.append(layer)
        return cls(served if factor_I is None else [*served, _Scale(factor_I.float())])


class _Scale(nn.Module):
    def __init__(self, factor_H: Tensor) -> None:
        super().__init__()
        self.register_buffer("factor_H", factor_H)
        self.factor_H: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor_H


def fixed_linear(weight_OI: Tensor, bias_O: Tensor) -> nn.Linear:
    """A linear layer in float32 with given weights."""
    linear = nn.Linear(weight_OI.shape[1], weight_OI.shape[0])
    with torch.no_grad():
        linear.weight.copy_(weight_OI)
        linear.bias.copy_(bias_O)
    return linear.requires_grad_(False)


# Legend: D = embedding width, H = first hidden width.
class FoldedUnit(nn.Module):
    """Drop-in replacement for a trained `LocalActivationUnit` at inference."""

    def __init__(self, unit: LocalActivationUnit) -> None:
        super().__init__()
        self.dim = unit.dim
        w_q, w_k, w_d, w_p = torch.split(unit.first.weight.detach().double(), unit.dim, dim=1)
        query_HD, key_HD, product_HD = w_q + w_d, w_k - w_d, w_p
        bias_H, factor_H = unit.first.bias.detach().double(), None
        self.activation: nn.Module = unit.activation
        if isinstance(unit.activation, Dice):
            fold = Fold.of(unit.activation)
            query_HD, key_HD, product_HD = (w_HD * fold.scale_H[:, None] for w_HD in (query_HD, key_HD, product_HD))
            bias_H, self.activation, factor_H = (bias_H - fold.mean_H) * fold.scale_H, fold.activation, fold.factor_H
        self.rest = FoldedMLP.of(unit.rest, factor_I=factor_H)
        for name, tensor in (
            ("query_HD", query_HD),
            ("key_HD", key_HD),
            ("product_HD", product_HD),
            ("bias_H", bias_H),
        ):
            self.register_buffer(name, tensor.float())
        self.query_HD: Tensor
        self.key_HD: Tensor
        self.product_HD: Tensor
        self.bias_H: Tensor

    def project_candidates(self, query: Tensor) -> Tensor:
        """See `LocalActivationUnit.project_candidates`."""
        return torch.cat([query, F.linear(query, self.query_HD, self.bias_H)], dim=-1)

    def project_behaviours(self, keys: Tensor) -> Tensor:
        """See `LocalActivationUnit.project_behaviours`."""
        return torch.cat([keys, F.linear(keys, self.key_HD)], dim=-1)

    def forward(self, candidates: Tensor, behaviours: Tensor) -> Tensor:
        """See `LocalActivationUnit.forward`."""
        widths = [self.dim, self.bias_H.shape[0]]
        query, query_part = torch.split(candidates, widths, dim=-1)
        keys, key_part = torch.split(behaviours, widths, dim=-1)
        hidden = F.linear(query * keys, self.product_HD) + query_part + key_part
        weights: Tensor = self.rest(self.activation(hidden))
        return weights.squeeze(-1)


AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


def folded(network: AnyNetwork) -> AnyNetwork:
    """Return a copy of the network for inference, every Dice folded into its neighbours. `network` stays as it is.

    Dices are found in MLPs, in hidden layers without their last one, and in activation units. No network has batch
    normalisation, the other layer that could be folded.
    """
    served = copy.deepcopy(network).eval().requires_grad_(False)
    _fold_children(served)
    return served


def _fold_children(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, LocalActivationUnit):
            setattr(module, name, FoldedUnit(child))
        elif isinstance(child, MLP):
            setattr(module, name, FoldedMLP.of(child))
        elif isinstance(child, nn.Sequential) and any(isinstance(layer, Dice) for layer in child):
            setattr(module, name, FoldedMLP.of_layers(child))
        else:
            _fold_children(child)
