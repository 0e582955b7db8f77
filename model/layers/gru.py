"""DIEN's layers: interest extraction, attention, and interest evolution towards a candidate."""

import math
from collections.abc import Callable
from enum import StrEnum

import torch
from torch import Tensor, nn

from dinrank.model.layers.embedding import take_rows
from dinrank.model.layers.recurrence import recur
from dinrank.model.layers.steps import Steps


class Evolution(StrEnum):
    """Use of attention in the second GRU.

    `augru` scales the update gate, `agru` puts the attention in the update gate's place, `aigru` scales the input.
    """

    AUGRU = "augru"
    AGRU = "agru"
    AIGRU = "aigru"


# Legend: U = users, C = candidates per user, T = behaviours, P = real behaviours of the batch, step by step,
# S = all slots of the batch, H = width of the state, D = width of the input, G = width of the gates.
class Gates(nn.Module):
    """The parameters of a GRU: W·x + b for the input and W·h for the state, rows r, u and h̃.

    The paper has one bias per gate. All begin uniform in ±1/√H, as in torch.

    Args:
        num_gates: 3, or 2 without the update gate.
    """

    def __init__(self, input_dim: int, width: int, *, num_gates: int = 3) -> None:
        super().__init__()
        self.of_input = nn.Linear(input_dim, num_gates * width)
        self.of_state = nn.Linear(width, num_gates * width, bias=False)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(width), 1 / math.sqrt(width))


class InterestExtractor(nn.Module):
    """A GRU over each user's behaviours: h_t is the interest after behaviour t. It does not depend on candidates.

    Source: Zhou et al., "Deep Interest Evolution Network for Click-Through Rate Prediction", AAAI 2019,
        "Interest Extractor Layer".
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gates = Gates(dim, dim)

    def forward(self, rows_ID: Tensor, behaviours_P: Tensor, steps: Steps) -> Tensor:
        """h_t of every behaviour, states_PH.

        Args:
            rows_ID: vectors of the batch's items.
            behaviours_P: rows of `rows_ID`.
        """
        parts_PG = take_rows(self.gates.of_input(rows_ID), behaviours_P)
        states_P1H = recur(parts_PG[:, None], self.gates.of_state.weight, None, steps, every_state=True)
        return states_P1H.squeeze(1)


class InterestAttention(nn.Module):
    """a_t = exp(h_t·W·e) / Σ_j exp(h_j·W·e) over the user's real behaviours, e the candidate.

    Unlike DIN's weights these are normalised: they add up to 1.

    Source: Zhou et al., AAAI 2019, "Interest Evolving Layer". The authors' released code has an MLP in place of h·W·e.
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, width, bias=False)

    def forward(self, states_PH: Tensor, query_UCD: Tensor, steps: Steps) -> Tensor:
        """a, [P, C]."""
        query_UCH: Tensor = self.project(query_UCD)
        if steps.slot_P is None or steps.user_P is None:
            states_UTH = states_PH.view(steps.num_slots, steps.num_users, states_PH.shape[1]).transpose(0, 1)
            logit_UTC = _on_rows(lambda rows: torch.matmul(rows, query_UCH.transpose(1, 2)), states_UTH)
            return steps.take(logit_UTC.softmax(dim=1))
        num_candidates = query_UCH.shape[1]
        query_PCH = query_UCH.index_select(0, steps.user_P)
        logit_PC = (query_PCH * states_PH[:, None, :]).sum(dim=-1)
        # A padded slot's weight underflows to 0; where all slots are padded no weight is taken.
        logit_SC = logit_PC.new_full(
            (steps.num_users * steps.num_slots, num_candidates), torch.finfo(logit_PC.dtype).min
        )
        logit_SC = logit_SC.index_copy(0, steps.slot_P, logit_PC)
        weights_UTC = logit_SC.view(steps.num_users, steps.num_slots, num_candidates).softmax(dim=1)
        return steps.take(weights_UTC)


class InterestEvolution(nn.Module):
    """A GRU over the interests in which the candidate's attention decides how much each one changes the state:

        augru   h ← h + a_t·u_t∘(h̃_t − h)
        agru    h ← h + a_t·(h̃_t − h), no update gate
        aigru   h ← h + u_t∘(h̃_t − h), whose gates see a_t·i_t, i_t the interest

    Source: Zhou et al., AAAI 2019, "Interest Evolving Layer". The authors' released code of AUGRU differs: it
        scales the kept part of the old state by 1 − a_t, so a behaviour without attention changes it too.
    """

    def __init__(self, width: int, evolution: Evolution) -> None:
        super().__init__()
        self.evolution = evolution
        self.gates = Gates(width, width, num_gates=2 if evolution is Evolution.AGRU else 3)

    def forward(self, states_PH: Tensor, weights_PC: Tensor, steps: Steps) -> Tensor:
        """Each user's last state for each candidate, [U, C, H]; zero without behaviours."""
        weight_GH = self.gates.of_state.weight
        if self.evolution is Evolution.AIGRU:
            of_interest_PG = _on_rows(lambda rows: nn.functional.linear(rows, self.gates.of_input.weight), states_PH)
            parts_PCG = weights_PC[..., None] * of_interest_PG[:, None] + self.gates.of_input.bias
            last_UCH = recur(parts_PCG, weight_GH, None, steps, every_state=False)
        else:
            parts_PG = _on_rows(self.gates.of_input, states_PH)
            last_UCH = recur(parts_PG[:, None], weight_GH, weights_PC, steps, every_state=False)
        return steps.restore_users(last_UCH)


def _on_rows(product: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Compute a matrix product with any number of rows, [..., N, ·].

    In an exported graph a dummy row is added and cut off: ONNX Runtime 1.31 divides by zero, which ends the process,
    when it multiplies no rows.
    """
    if not torch.compiler.is_exporting():
        return product(rows)
    return product(nn.functional.pad(rows, (0, 0, 0, 1)))[..., :-1, :]
