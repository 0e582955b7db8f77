"""ONNX loops for operators that the exporter does not know."""

# onnxscript compiles the loops' bodies from their source and takes no return types there; nothing runs them.
# mypy: disable-error-code="no-untyped-def, no-any-return"
from collections.abc import Callable
from typing import Any

import torch
from onnxscript import BOOL, FLOAT, INT64, graph, opset18, script

import dinrank.model.layers.recurrence  # noqa: F401  it defines the operator

op: Any = opset18  # the exporter writes in this opset and converts the whole at the end


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return the `custom_translation_table` for `torch.onnx.export`."""
    return {torch.ops.dinrank.recur.default: _recur}


# Legend: C = candidates, X = C or 1, T = behaviours of the one user, H = width of the state, G = width of the gates,
# S = width of reset and update gate. The functions below write a graph: their values are names in it, not arrays.
def _recur(
    parts_TXG: Any,
    weight_GH: Any,
    scale_TC: Any | None,
    num_users: int,
    counts: Any = None,
    every_state: bool = False,
) -> Any:
    """Translate `dinrank.model.layers.recurrence.recur` for one user to a Loop: ONNX Runtime refuses an empty Scan."""
    assert num_users == 1 and counts is None, "the serving graph is for one user without padding"
    num_gates, width = weight_GH.shape
    has_update_gate = num_gates == 3 * width
    num_steps = op.Shape(parts_TXG, start=0, end=1)
    num_candidates = op.Shape(parts_TXG if scale_TC is None else scale_TC, start=1, end=2)
    shape_CH = op.Concat(num_candidates, op.Constant(value_ints=[width]), axis=0)
    first_CH = op.Expand(op.Constant(value_float=0.0), shape_CH)
    weight_HG = op.Transpose(weight_GH, perm=[1, 0])
    widths = op.Constant(value_ints=[num_gates - width, width])
    if every_state:
        assert has_update_gate and scale_TC is None, "only the plain GRU is asked for every state"
        # A dummy step is added and its state cut off: for no steps ONNX Runtime would have to guess the shape.
        one = op.Constant(value_ints=[1])
        idle_1XG = op.Expand(op.Constant(value_float=0.0), op.Constant(value_ints=[1, 1, num_gates]))
        states_TCH = _every_state(
            op.Concat(parts_TXG, idle_1XG, axis=0), weight_HG, first_CH, op.Add(num_steps, one), widths
        )
        return op.Slice(states_TCH, op.Constant(value_ints=[0]), num_steps, op.Constant(value_ints=[0]))
    if scale_TC is None:
        scale_TX1 = op.Expand(
            op.Constant(value_float=1.0), op.Concat(num_steps, op.Constant(value_ints=[1, 1]), axis=0)
        )
    else:
        scale_TX1 = op.Unsqueeze(scale_TC, op.Constant(value_ints=[2]))
    last_state = _last_state if has_update_gate else _last_state_without_update_gate
    last_CH = last_state(parts_TXG, weight_HG, scale_TX1, first_CH, num_steps, widths)
    return op.Unsqueeze(last_CH, op.Constant(value_ints=[0]))


# The three bodies repeat lines on purpose: the exporter does not inline a call within a Loop.
@script(default_opset=op)
def _every_state(parts_TXG: FLOAT, weight_HG: FLOAT, first_CH: FLOAT, num_steps: INT64, widths: INT64) -> FLOAT:
    @graph()
    def step(t: INT64, go_on: BOOL, state_CH):
        parts_XS, parts_XH = op.Split(op.Gather(parts_TXG, t), widths, axis=1)
        hidden_CS, hidden_CH = op.Split(op.MatMul(state_CH, weight_HG), widths, axis=1)
        reset_CH, update_CH = op.Split(op.Sigmoid(parts_XS + hidden_CS), num_outputs=2, axis=1)
        proposal_CH = op.Tanh(parts_XH + reset_CH * hidden_CH)
        new_CH = state_CH + update_CH * (proposal_CH - state_CH)
        return op.Identity(go_on), new_CH, op.Identity(new_CH)

    _last_CH, states_TCH = op.Loop(num_steps, None, first_CH, body=step)
    return states_TCH


@script(default_opset=op)
def _last_state(
    parts_TXG: FLOAT, weight_HG: FLOAT, scale_TX1: FLOAT, first_CH: FLOAT, num_steps: INT64, widths: INT64
) -> FLOAT:
    @graph()
    def step(t: INT64, go_on: BOOL, state_CH):
        parts_XS, parts_XH = op.Split(op.Gather(parts_TXG, t), widths, axis=1)
        hidden_CS, hidden_CH = op.Split(op.MatMul(state_CH, weight_HG), widths, axis=1)
        reset_CH, update_CH = op.Split(op.Sigmoid(parts_XS + hidden_CS), num_outputs=2, axis=1)
        proposal_CH = op.Tanh(parts_XH + reset_CH * hidden_CH)
        return op.Identity(go_on), state_CH + op.Gather(scale_TX1, t) * update_CH * (proposal_CH - state_CH)

    return op.Loop(num_steps, None, first_CH, body=step)


@script(default_opset=op)
def _last_state_without_update_gate(
    parts_TXG: FLOAT, weight_HG: FLOAT, scale_TX1: FLOAT, first_CH: FLOAT, num_steps: INT64, widths: INT64
) -> FLOAT:
    @graph()
    def step(t: INT64, go_on: BOOL, state_CH):
        parts_XR, parts_XH = op.Split(op.Gather(parts_TXG, t), widths, axis=1)
        hidden_CR, hidden_CH = op.Split(op.MatMul(state_CH, weight_HG), widths, axis=1)
        proposal_CH = op.Tanh(parts_XH + op.Sigmoid(parts_XR + hidden_CR) * hidden_CH)
        return op.Identity(go_on), state_CH + op.Gather(scale_TX1, t) * (proposal_CH - state_CH)

    return op.Loop(num_steps, None, first_CH, body=step)
