import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinrank.training.prepare.negatives import draw_unreviewed_items

NUM_ITEMS = 8


@given(
    reviewed=st.lists(st.frozensets(st.integers(0, NUM_ITEMS - 1), max_size=NUM_ITEMS - 1), min_size=1, max_size=5),
    data=st.data(),
)
def test_a_drawn_item_was_never_reviewed_by_the_user(reviewed: list[frozenset[int]], data: st.DataObject) -> None:
    users = data.draw(st.lists(st.integers(0, len(reviewed) - 1), max_size=30))
    pairs = np.array([(user, item) for user, items in enumerate(reviewed) for item in sorted(items)], dtype=np.int64)
    pairs = pairs.reshape(-1, 2)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    user_N = np.array(users, dtype=np.int64)
    drawn_N = draw_unreviewed_items(user_N, pairs[:, 0], pairs[:, 1], num_items=NUM_ITEMS, rng=rng)
    assert drawn_N.shape == user_N.shape
    for user, item in zip(users, drawn_N.tolist(), strict=True):
        assert 0 <= item < NUM_ITEMS
        assert item not in reviewed[user]


def test_every_unreviewed_item_is_equally_likely() -> None:
    """User 1 reviewed 0, 1 and 4 of 6 items: 2, 3 and 5 remain, a third of the draws each."""
    num_draws = 30_000
    drawn_N = draw_unreviewed_items(
        np.full(num_draws, 1),
        np.array([0, 1, 1, 1, 2]),
        np.array([5, 0, 1, 4, 2]),
        num_items=6,
        rng=np.random.default_rng(0),
    )
    counts = np.bincount(drawn_N, minlength=6)
    # Six standard deviations of a binomial count with p = 1/3.
    tolerance = 6 * np.sqrt(num_draws * (1 / 3) * (2 / 3))
    assert counts[[0, 1, 4]].tolist() == [0, 0, 0]
    assert counts[[2, 3, 5]] == pytest.approx([num_draws / 3] * 3, abs=tolerance)


def test_a_user_who_reviewed_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="user 0 has reviewed all 2 items"):
        draw_unreviewed_items(
            np.array([0]), np.array([0, 0]), np.array([0, 1]), num_items=2, rng=np.random.default_rng(0)
        )
