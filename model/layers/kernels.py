"""Compiled loops over a tile of pairs, each a single pass without intermediate arrays. float32 and float64.

Only `tiled_unit.py` calls them. NumPy arrays in and out; the last arguments are written. They release the
interpreter's lock.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Indices = NDArray[np.int64]

Kernel = TypeVar("Kernel", bound=Callable[..., None])


def _compiled(kernel: Kernel) -> Kernel:
    compiled: Any = njit(nogil=True, fastmath=True, error_model="numpy", cache=True)(kernel)
    return cast(Kernel, compiled)


# Legend: P = pairs of the tile, B = candidates, I = distinct items, D = embedding width, H = hidden units, X = D + H.
# Of one unit of one pair: s before Dice, h after it, y = (s − E[s]) / √(Var[s] + ε), p = sigmoid(y), g = ∂loss/∂h.
# `dice_3H` holds E[s], 1 / √(Var[s] + ε) and α.
@_compiled
def meet(
    candidates_BX: Floats, behaviours_IX: Floats, candidate_P: Indices, behaviour_P: Indices, product: Floats, s: Floats
) -> None:
    """Write q∘k, [P, D], and the sum of both parts of the first layer, [P, H]."""
    dim = product.shape[1]
    for pair in range(len(candidate_P)):
        candidate, behaviour = candidate_P[pair], behaviour_P[pair]
        for d in range(dim):
            product[pair, d] = candidates_BX[candidate, d] * behaviours_IX[behaviour, d]
        for j in range(s.shape[1]):
            s[pair, j] = candidates_BX[candidate, dim + j] + behaviours_IX[behaviour, dim + j]


@_compiled
def part(
    candidates_BX: Floats,
    behaviours_IX: Floats,
    candidate_P: Indices,
    behaviour_P: Indices,
    grad_product: Floats,
    grad_s: Floats,
    grad_candidates_BX: Floats,
    grad_behaviours_IX: Floats,
) -> None:
    """Add the gradient of `meet` to those of the rows."""
    dim = grad_product.shape[1]
    for pair in range(len(candidate_P)):
        candidate, behaviour = candidate_P[pair], behaviour_P[pair]
        for d in range(dim):
            grad_candidates_BX[candidate, d] += grad_product[pair, d] * behaviours_IX[behaviour, d]
        for d in range(dim):
            grad_behaviours_IX[behaviour, d] += grad_product[pair, d] * candidates_BX[candidate, d]
        for j in range(grad_s.shape[1]):
            grad_candidates_BX[candidate, dim + j] += grad_s[pair, j]
        for j in range(grad_s.shape[1]):
            grad_behaviours_IX[behaviour, dim + j] += grad_s[pair, j]


@_compiled
def measure(s: Floats, moments_2H: Floats) -> None:
    """Write the mean of each unit and Σ (s − mean)²."""
    moments_2H[:] = 0.0
    for pair in range(len(s)):
        for j in range(s.shape[1]):
            moments_2H[0, j] += s[pair, j]
    for j in range(s.shape[1]):
        moments_2H[0, j] /= len(s)
    for pair in range(len(s)):
        for j in range(s.shape[1]):
            moments_2H[1, j] += (s[pair, j] - moments_2H[0, j]) ** 2


@_compiled
def activate(s: Floats, dice_3H: Floats, h: Floats) -> None:
    """h = s·(α + (1 − α)·p)."""
    for pair in range(len(s)):
        for j in range(s.shape[1]):
            p = _sigmoid((s[pair, j] - dice_3H[0, j]) * dice_3H[1, j])
            h[pair, j] = s[pair, j] * (dice_3H[2, j] + (1 - dice_3H[2, j]) * p)


@_compiled
def activate_and_sum(s: Floats, g: Floats, dice_3H: Floats, h: Floats, sums_3H: Floats) -> None:
    """Recompute h, and sum over pairs: g·s·(1 − p), which is α's gradient, r = g·s·p·(1 − p), and r·y."""
    for pair in range(len(s)):
        for j in range(s.shape[1]):
            y = (s[pair, j] - dice_3H[0, j]) * dice_3H[1, j]
            p = _sigmoid(y)
            of_alpha = g[pair, j] * s[pair, j] * (1 - p)
            sums_3H[0, j] += of_alpha
            sums_3H[1, j] += of_alpha * p
            sums_3H[2, j] += of_alpha * p * y
            h[pair, j] = s[pair, j] * (dice_3H[2, j] + (1 - dice_3H[2, j]) * p)


@_compiled
def differentiate(s: Floats, g: Floats, dice_3H: Floats, means_3H: Floats, grad_s: Floats) -> None:
    """∂loss/∂s = g·(α + (1 − α)·p) + (1 − α)/√(Var + ε)·(r − mean of r − y·mean of r·y): the mean and the variance are
    functions of every s too. `means_3H` are `activate_and_sum`'s sums over all pairs, divided by their number.
    """
    for pair in range(len(s)):
        for j in range(s.shape[1]):
            y = (s[pair, j] - dice_3H[0, j]) * dice_3H[1, j]
            p = _sigmoid(y)
            r = g[pair, j] * s[pair, j] * p * (1 - p)
            through_statistics = r - means_3H[1, j] - y * means_3H[2, j]
            slope = g[pair, j] * (dice_3H[2, j] + (1 - dice_3H[2, j]) * p)
            grad_s[pair, j] = slope + (1 - dice_3H[2, j]) * dice_3H[1, j] * through_statistics


def _sigmoid(y: Any) -> Any:
    """Callable only within compiled code."""
    raise NotImplementedError


@overload(_sigmoid)
def _sigmoid_of(y: Any) -> Any:
    def single(y: Any) -> Any:
        return np.float32(1) / (np.float32(1) + _exp_single(-y))

    def double(y: Any) -> Any:
        return 1 / (1 + math.exp(-y))

    return single if y == types.float32 else double


@intrinsic
def _float_of_bits(_: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@njit(fastmath=True, inline="always")
def _exp_single(x: np.float32) -> np.float32:
    """Return eˣ in arithmetic that compiles to vector instructions, unlike a call to the C library.

    2ⁿ·eᶠ with |f| ≤ ln 2 / 2, eᶠ by its Taylor series up to f⁷, to about 1e-7 of the value; x is cut at ±87.
    """
    x = min(max(x, np.float32(-87.0)), np.float32(87.0))
    n = np.floor(x * np.float32(1.4426950408889634) + np.float32(0.5))
    f = x - n * np.float32(0.6931471805599453)
    series = np.float32(1 / 5040)
    series = series * f + np.float32(1 / 720)
    series = series * f + np.float32(1 / 120)
    series = series * f + np.float32(1 / 24)
    series = series * f + np.float32(1 / 6)
    series = series * f + np.float32(1 / 2)
    series = series * f + np.float32(1)
    series = series * f + np.float32(1)
    power: np.float32 = _float_of_bits(np.int32(np.int32(n) + np.int32(127)) << np.int32(23))  # type: ignore[call-arg]
    return series * power
