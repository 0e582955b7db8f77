"""A trained network to the network that serves: the same function with fewer operations."""

import copy
from typing import TypeVar

from torch import nn

from model.layers.activation_unit import LocalActivationUnit
from model.layers.dice import Dice
from model.layers.mlp import MLP
from model.serving.folded_mlp import FoldedMLP
from model.serving.folded_unit import FoldedUnit

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


def folded(network: AnyNetwork) -> AnyNetwork:
    """A copy of the network at inference, every Dice folded into its neighbours. `network` stays as it is.

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
