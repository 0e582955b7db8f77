"""The matrix products of DIN's plain graph alone: a lower bound for any arrangement of the same arithmetic."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bench.serving.rows import OPSET
from bench.serving.setting import NUM_CANDIDATES, TOWER, UNIT, Shape


# Legend: C = candidates, T = behaviours, D = width of an item, H1, H2 = widths of the unit, F = width of user and
# context, which are a D together.
def products(shape: Shape) -> dict[str, list[tuple[int, int]]]:
    """Return chains of products: a first matrix and its factors in turn.

    The unit's first layer is split as in the graph, so that candidates [C, D] and behaviours [T, D] are multiplied
    once each and the pairs [C·T, D] with the rest of it.
    """
    num_pairs = NUM_CANDIDATES * shape.num_behaviours
    unit = _chain(shape.width, UNIT)
    return {
        "candidates": [(NUM_CANDIDATES, shape.width), unit[0]],
        "behaviours": [(shape.num_behaviours, shape.width), unit[0]],
        "pairs": [(num_pairs, shape.width), *unit],
        "interest": [(NUM_CANDIDATES, shape.num_behaviours), (shape.num_behaviours, shape.width)],
        "tower": [(NUM_CANDIDATES, 4 * shape.width), *_chain(4 * shape.width, TOWER)],
    }


def _chain(width: int, hidden: tuple[int, ...]) -> list[tuple[int, int]]:
    widths = [width, *hidden, 1]
    return list(zip(widths, widths[1:], strict=False))


def products_graph(shape: Shape) -> tuple[onnx.ModelProto, dict[str, NDArray[np.float32]]]:
    """Build an ONNX graph of only these products, and random inputs.

    As in the real graph all factors but the behaviours, in `interest`, are constants, which ONNX Runtime prepacks.
    """
    rng = np.random.default_rng(0)
    nodes, feed, constants, results = [], {}, {}, {}
    for name, (first, *factors) in products(shape).items():
        current = name
        feed[name] = rng.normal(size=first).astype(np.float32)
        for number, size in enumerate(factors):
            factor, result = f"{name}_factor_{number}", f"{name}_{number}"
            values = rng.normal(scale=size[0] ** -0.5, size=size).astype(np.float32)
            (feed if name == "interest" else constants)[factor] = values
            nodes.append(helper.make_node("MatMul", [current, factor], [result]))
            current = result
        results[current] = (first[0], factors[-1][1])
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in feed.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in results.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10), feed
