"""Draw items that a user never reviewed."""

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]


# Legend: N = rows to draw for, R = distinct (user, item) pairs of all reviews, U = users.
def draw_unreviewed_items(
    user_N: Int64s, reviewed_user_R: Int64s, reviewed_item_R: Int64s, *, num_items: int, rng: np.random.Generator
) -> Int64s:
    """Draw one item per row, uniformly from the items that the row's user is not paired with.

    Exact, without rejected draws: the r-th unreviewed item of a user is r plus the number of reviewed
    items before it, and the j-th reviewed item s lies before it when s - j <= r.

    Args:
        user_N: user numbers from 0; repeated as often as items are wanted.
        reviewed_user_R, reviewed_item_R: sorted by user, then item; no pair twice; items below `num_items`.

    Raises:
        ValueError: a user in `user_N` has reviewed every item.
    """
    if not len(user_N):
        return np.empty(0, dtype=np.int64)
    num_users = 1 + max(user_N.max(), reviewed_user_R.max(initial=0))
    num_reviewed_U = np.bincount(reviewed_user_R, minlength=num_users)
    start_U = np.cumsum(num_reviewed_U) - num_reviewed_U
    num_free_N = num_items - num_reviewed_U[user_N]
    if num_free_N.min() < 1:
        raise ValueError(f"user {user_N[num_free_N.argmin()]} has reviewed all {num_items} items")

    draw_N = rng.integers(0, num_free_N)
    order_R = np.arange(len(reviewed_user_R)) - start_U[reviewed_user_R]
    key_R = reviewed_user_R * num_items + (reviewed_item_R - order_R)
    num_before_N = np.searchsorted(key_R, user_N * num_items + draw_N, side="right") - start_U[user_N]
    return (draw_N + num_before_N).astype(np.int64)
