"""The recurrence shared by GRU and its variants with attention, with a backward pass of its own."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dinrank.model.layers.steps import Steps

# Legend: U = users, C = candidates per user, P = real behaviours of the batch, step by step (see `Steps`),
# H = width of the state, G = width of the gates: reset, update and proposal side by side, each H wide.


def recur(
    parts_PCG: Tensor,
    weight_GH: Tensor,
    scale_PC: Tensor | None,
    steps: Steps,
    *,
    every_state: bool,
) -> Tensor:
    """Run every user's steps, one state for each candidate, from the zero state:

        r = σ(x_r + W_r·h)    u = σ(x_u + W_u·h)    h̃ = tanh(x_h + r∘(W_h·h))    h ← h + a·u∘(h̃ − h)

    where x is the input's part of the gates and a the scale of behaviour and candidate. Without the rows of the update
    gate (G = 2H), u = 1 and the scale is the update gate.

    Args:
        parts_PCG: x, biases included, columns r, u, h̃; C may be 1, which stands for all candidates.
        weight_GH: W, rows r, u, h̃.
        scale_PC: a; None for 1.
        every_state: return the state after each behaviour; else each user's last.

    Returns:
        [P, C, H], or [U, C, H] in the order within a step, where a user without behaviours keeps the zero state.

    Source: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014, in the form of Zhou
        et al., AAAI 2019, "Interest Extractor Layer", where the reset gate multiplies W_h·h and u is the share of the
        new.
    """
    arguments = parts_PCG, weight_GH, scale_PC, steps.num_users, steps.counts, every_state
    without_gradient = torch.compiler.is_exporting() or not torch.is_grad_enabled()
    recurrence: Callable[..., Tensor] = recur_without_gradient if without_gradient else _Recurrence.apply
    return recurrence(*arguments)


@torch.library.custom_op("dinrank::recur", mutates_args=())
def recur_without_gradient(
    parts_PCG: Tensor,
    weight_GH: Tensor,
    scale_PC: Tensor | None,
    num_users: int,
    counts: list[int] | None,
    every_state: bool,
) -> Tensor:
    """`recur` at inference, a custom operator that the exporter replaces with a loop."""
    run = _run(parts_PCG, weight_GH, scale_PC, num_users, counts, every_state=every_state, keep_gates=False)
    return run.states_PCH if every_state else run.last_UCH


@recur_without_gradient.register_fake
def _shape_of_recur(
    parts_PCG: Tensor,
    weight_GH: Tensor,
    scale_PC: Tensor | None,
    num_users: int,
    counts: list[int] | None,
    every_state: bool,
) -> Tensor:
    num_candidates = (parts_PCG if scale_PC is None else scale_PC).shape[1]
    num_rows = parts_PCG.shape[0] if every_state else num_users
    return parts_PCG.new_empty(num_rows, num_candidates, weight_GH.shape[1])


class _Run(NamedTuple):
    """Result of a forward run.

    Attributes:
        spans: per step its first position in P and the number of users that take part.
        states_PCH: the state after each behaviour, if asked for.
        last_UCH: each user's last state.
        gates_PCG: r, u and h̃, for the backward pass; else those of one step.
        hidden_PCH: W_h·h, likewise.
    """

    spans: list[tuple[int, int]]
    states_PCH: Tensor
    last_UCH: Tensor
    gates_PCG: Tensor
    hidden_PCH: Tensor


def _run(
    parts_PCG: Tensor,
    weight_GH: Tensor,
    scale_PC: Tensor | None,
    num_users: int,
    counts: list[int] | None,
    *,
    every_state: bool,
    keep_gates: bool,
) -> _Run:
    num_rows, num_gates, width = len(parts_PCG), *weight_GH.shape
    num_candidates = (parts_PCG if scale_PC is None else scale_PC).shape[1]
    num_kept = num_rows if keep_gates else num_users
    run = _Run(
        spans=_spans(counts if counts is not None else [num_users] * (num_rows // max(num_users, 1))),
        states_PCH=parts_PCG.new_empty(num_rows if every_state else 0, num_candidates, width),
        last_UCH=parts_PCG.new_zeros(num_users, num_candidates, width),
        gates_PCG=parts_PCG.new_empty(num_kept, num_candidates, num_gates),
        hidden_PCH=parts_PCG.new_empty(num_kept, num_candidates, width),
    )
    for first, count in run.spans:
        step = slice(first, first + count)
        kept = step if keep_gates else slice(count)
        state, gates, hidden = run.last_UCH[:count], run.gates_PCG[kept], run.hidden_PCH[kept]
        torch.mm(state.flatten(0, 1), weight_GH.t(), out=gates.view(-1, num_gates))
        hidden.copy_(gates[..., -width:])
        shares, proposal = gates[..., :-width], gates[..., -width:]
        shares.add_(parts_PCG[step, :, :-width]).sigmoid_()
        of_input = parts_PCG[step, :, -width:].expand_as(hidden)
        torch.addcmul(of_input, gates[..., :width], hidden, out=proposal).tanh_()
        state.add_(_update(gates, scale_PC, step, width) * (proposal - state))
        if every_state:
            run.states_PCH[step] = state
    return run


class _Recurrence(torch.autograd.Function):
    """Hand-written backpropagation through time: one buffer for all steps, and only active users are computed."""

    @staticmethod
    def forward(
        ctx: Any,
        parts_PCG: Tensor,
        weight_GH: Tensor,
        scale_PC: Tensor | None,
        num_users: int,
        counts: list[int] | None,
        every_state: bool,
    ) -> Tensor:
        run = _run(parts_PCG, weight_GH, scale_PC, num_users, counts, every_state=True, keep_gates=True)
        ctx.spans, ctx.num_users, ctx.every_state = run.spans, num_users, every_state
        ctx.parts_differ = parts_PCG.shape[1] == run.last_UCH.shape[1]
        ctx.save_for_backward(weight_GH, scale_PC, run.gates_PCG, run.hidden_PCH, run.states_PCH)
        return run.states_PCH if every_state else run.last_UCH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight_GH, scale_PC, gates_PCG, hidden_PCH, states_PCH = ctx.saved_tensors
        width = weight_GH.shape[1]
        num_candidates, num_gates = gates_PCG.shape[1:]
        # By the gates' arguments: first r, u and W_h·h, for the gradient of W; at the end r, u and x_h, for that of x.
        d_hidden_PCG = torch.empty_like(gates_PCG)
        d_proposal_PCH = torch.empty_like(states_PCH)
        d_scale_PC = None if scale_PC is None else torch.empty_like(scale_PC)
        d_weight_GH = torch.zeros_like(weight_GH)
        if ctx.every_state:
            d_state_UCH = grad.new_zeros(ctx.num_users, num_candidates, width)
        else:
            d_state_UCH = grad.clone(memory_format=torch.contiguous_format)
        for place in reversed(range(len(ctx.spans))):
            first, count = ctx.spans[place]
            step = slice(first, first + count)
            d_state, gates = d_state_UCH[:count], gates_PCG[step]
            if ctx.every_state:
                d_state += grad[step]
            reset, proposal = gates[..., :width], gates[..., -width:]
            first_before = ctx.spans[place - 1][0]
            state = states_PCH[first_before : first_before + count] if place else torch.zeros_like(d_state)
            change = proposal - state
            update = _update(gates, scale_PC, step, width)
            d_hidden = d_hidden_PCG[step]
            d_update = d_state * change
            if num_gates == 3 * width:
                own = gates[..., width:-width]
                if d_scale_PC is not None:
                    torch.sum(d_update * own, dim=-1, out=d_scale_PC[step])
                # u_own' = u_own·(1 − u_own), times the scale, is update·(1 − u_own)
                d_hidden[..., width:-width] = d_update.mul_(update).addcmul_(d_update, own, value=-1.0)
            elif d_scale_PC is not None:
                torch.sum(d_update, dim=-1, out=d_scale_PC[step])
            d_proposal = torch.mul(d_state, update, out=d_proposal_PCH[step])
            d_proposal.addcmul_(d_proposal * proposal, proposal, value=-1.0)
            torch.mul(d_proposal, reset, out=d_hidden[..., -width:])
            d_reset = d_hidden[..., -width:] * hidden_PCH[step]
            d_hidden[..., :width] = d_reset.addcmul_(d_reset, reset, value=-1.0)
            if place:
                d_rows = d_hidden.view(-1, num_gates)
                d_weight_GH.addmm_(d_rows.t(), state.reshape(-1, width))
                d_state.addcmul_(d_state, update, value=-1.0)
                d_state.view(-1, width).addmm_(d_rows, weight_GH)
        d_hidden_PCG[..., -width:] = d_proposal_PCH
        d_parts_PCG = d_hidden_PCG if ctx.parts_differ else d_hidden_PCG.sum(dim=1, keepdim=True)
        return d_parts_PCG, d_weight_GH, d_scale_PC, None, None, None


def _update(gates: Tensor, scale_PC: Tensor | None, step: slice, width: int) -> Tensor:
    """Return a·u, which broadcasts with the state; u = 1 without an update gate."""
    has_gate = gates.shape[-1] == 3 * width
    if scale_PC is None:
        return gates[..., width:-width] if has_gate else torch.ones_like(gates[..., :1])
    scale = scale_PC[step, :, None]
    return gates[..., width:-width] * scale if has_gate else scale


def _spans(counts: list[int]) -> list[tuple[int, int]]:
    spans, first = [], 0
    for count in counts:
        spans.append((first, count))
        first += count
    return spans
