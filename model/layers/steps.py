"""Behaviours in step order, as recurrent layers take them."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


# Legend: U = users, C = candidates per user, T = slots, P = real behaviours of the batch, step by step.
@dataclass(frozen=True, slots=True)
class Steps:
    """Every user's first real behaviour, then every user's second, and so on; padding is left out.

    Within a step users are sorted by history length, longest first. So the users of a step are the first ones of the
    step before, and a recurrence costs the sum of the lengths.

    Attributes:
        num_users: U.
        num_slots: T.
        counts: number of users in each step. None without padding, where all take part in their own order.
        order_U: users, longest history first; None without padding, like the next two.
        user_P: each behaviour's user.
        slot_P: each behaviour's slot in the flattened [U, T].
    """

    num_users: int
    num_slots: int
    counts: list[int] | None = None
    order_U: Tensor | None = None
    user_P: Tensor | None = None
    slot_P: Tensor | None = None

    @classmethod
    def of(cls, behaviours_UT: Tensor, is_real_UT: Tensor | None) -> Self:
        """The steps of a batch.

        Args:
            is_real_UT: bool, True where the slot holds a behaviour, padding anywhere; None when every slot does.
        """
        num_users, num_slots = behaviours_UT.shape
        if is_real_UT is None:
            return cls(num_users, num_slots)
        length_U = is_real_UT.sum(dim=1)
        order_U = length_U.argsort(descending=True, stable=True)
        place_P, column_P = is_real_UT[order_U].nonzero(as_tuple=True)  # user by user, the longest history first
        first_U = length_U[order_U].cumsum(0) - length_U[order_U]
        step_P = torch.arange(len(place_P)) - first_U[place_P]
        by_step_P = step_P.argsort(stable=True)
        user_P = order_U[place_P[by_step_P]]
        return cls(
            num_users,
            num_slots,
            counts=torch.bincount(step_P).tolist(),
            order_U=order_U,
            user_P=user_P,
            slot_P=user_P * num_slots + column_P[by_step_P],
        )

    def take(self, values_UT: Tensor) -> Tensor:
        """The values of the real slots, [P, ...] of [U, T, ...]."""
        if self.slot_P is None:
            return values_UT.transpose(0, 1).flatten(0, 1)
        return values_UT.flatten(0, 1).index_select(0, self.slot_P)

    def restore_users(self, values_U: Tensor) -> Tensor:
        """Bring [U, ...] from the order within a step back to the users' own."""
        if self.order_U is None:
            return values_U
        return torch.zeros_like(values_U).index_copy(0, self.order_U, values_U)

    def successors(self) -> tuple[Tensor, Tensor]:
        """Return positions in P of consecutive behaviours of a user: (behaviour, next).

        Every behaviour after the first step follows another, and the users of a step are the first of the step before.
        """
        counts = torch.tensor(
            self.counts if self.counts is not None else [self.num_users] * self.num_slots, dtype=torch.int64
        )
        following = torch.arange(int(counts[:1].sum()), int(counts.sum()))
        return following - counts[:-1].repeat_interleave(counts[1:]), following
