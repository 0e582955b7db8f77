import torch
from hypothesis import given
from hypothesis import strategies as st

from dinrank.model.layers.steps import Steps

# Legend: U = users, T = slots, P = real behaviours step by step.
BEHAVIOURS_UT = torch.tensor([[10, 11, 12], [20, 21, 22], [30, 31, 32], [40, 41, 42]])
IS_REAL_UT = torch.tensor([[False, True, False], [True, True, True], [False, False, False], [True, False, True]])


def test_behaviours_stand_step_by_step_with_the_longest_history_first() -> None:
    steps = Steps.of(BEHAVIOURS_UT, IS_REAL_UT)
    assert steps.counts == [3, 2, 1]
    assert steps.take(BEHAVIOURS_UT).tolist() == [20, 40, 11, 21, 42, 22]


def test_without_padding_users_keep_their_order() -> None:
    steps = Steps.of(BEHAVIOURS_UT, None)
    assert steps.take(BEHAVIOURS_UT).tolist() == [10, 20, 30, 40, 11, 21, 31, 41, 12, 22, 32, 42]


def test_users_come_back_in_their_own_order() -> None:
    """Within a step they stand 1, 3, 0, 2."""
    of_users = torch.tensor([[1.0], [3.0], [0.0], [2.0]])
    assert Steps.of(BEHAVIOURS_UT, IS_REAL_UT).restore_users(of_users).flatten().tolist() == [0.0, 1.0, 2.0, 3.0]
    assert Steps.of(BEHAVIOURS_UT, None).restore_users(of_users) is of_users


@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(st.booleans(), min_size=width, max_size=width), min_size=1)
    )
)
def test_a_successor_is_the_same_users_next_real_behaviour(is_real: list[list[bool]]) -> None:
    is_real_UT = torch.tensor(is_real)
    slots_UT = torch.arange(is_real_UT.numel()).view_as(is_real_UT)
    steps = Steps.of(slots_UT, is_real_UT)
    slots_P = steps.take(slots_UT)
    pairs = [tuple(slots_P[each].tolist()) for each in torch.stack(steps.successors(), dim=1)]
    expected = []
    for real_U, slots_U in zip(is_real_UT, slots_UT, strict=True):
        slots = slots_U[real_U].tolist()
        expected += list(zip(slots, slots[1:], strict=False))
    assert sorted(pairs) == sorted(expected)


def test_without_padding_every_behaviour_but_the_last_has_a_successor() -> None:
    earlier, following = Steps.of(BEHAVIOURS_UT, None).successors()
    assert earlier.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert following.tolist() == [4, 5, 6, 7, 8, 9, 10, 11]
