import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dinrank.model.layers.interest import Pooling, pair_up, pool_interest, sum_pairs

# Legend: U = users, C = candidates per user, T = behaviours, D = embedding width, I = distinct items,
# B = candidates of all users, P = pairs of a candidate and a real behaviour of its user.

masks = st.integers(0, 4).flatmap(
    lambda num_slots: st.lists(st.lists(st.booleans(), min_size=num_slots, max_size=num_slots), min_size=1, max_size=4)
)


@settings(deadline=None)
@given(mask=masks, num_candidates=st.integers(1, 3), seed=st.integers(0, 1000))
def test_pairs_are_every_candidate_with_every_real_behaviour(
    mask: list[list[bool]], num_candidates: int, seed: int
) -> None:
    is_real_UT = torch.tensor(mask, dtype=torch.bool).reshape(len(mask), -1)
    generator = torch.Generator().manual_seed(seed)
    behaviours_UT = torch.randint(0, 9, is_real_UT.shape, generator=generator)
    expected: list[tuple[int, int]] = []
    first = []
    for user, slots in enumerate(mask):
        for candidate in range(num_candidates):
            first.append(len(expected))
            expected += [
                (user * num_candidates + candidate, int(behaviours_UT[user, slot]))
                for slot, is_real in enumerate(slots)
                if is_real
            ]
    pairs = pair_up(behaviours_UT, is_real_UT, num_candidates)
    assert list(zip(pairs.candidate_P.tolist(), pairs.behaviour_P.tolist(), strict=True)) == expected
    assert pairs.first_B.tolist() == first


@settings(deadline=None)
@given(mask=masks, num_candidates=st.integers(1, 3), is_weighted=st.booleans(), seed=st.integers(0, 1000))
def test_summed_pairs_equal_a_loop(mask: list[list[bool]], num_candidates: int, is_weighted: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    is_real_UT = torch.tensor(mask, dtype=torch.bool).reshape(len(mask), -1)
    behaviours_UT = torch.randint(0, 5, is_real_UT.shape, generator=generator)
    rows_ID = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    pairs = pair_up(behaviours_UT, is_real_UT, num_candidates)
    weights_P = torch.randn(len(pairs.candidate_P), generator=generator, dtype=torch.float64)
    expected_BD = torch.zeros(len(mask) * num_candidates, 3, dtype=torch.float64)
    for pair, (candidate, behaviour) in enumerate(zip(pairs.candidate_P, pairs.behaviour_P, strict=True)):
        expected_BD[candidate] += rows_ID[behaviour] * (weights_P[pair] if is_weighted else 1.0)
    found_BD = sum_pairs(rows_ID, pairs, weights_P if is_weighted else None)
    torch.testing.assert_close(found_BD, expected_BD, rtol=1e-12, atol=1e-12)


def test_a_user_without_behaviours_has_the_zero_interest() -> None:
    is_real_UT = torch.tensor([[True, True], [False, False], [True, False]])
    pairs = pair_up(torch.tensor([[0, 1], [1, 1], [1, 0]]), is_real_UT, 1)
    assert sum_pairs(torch.tensor([[1.0], [10.0]]), pairs).tolist() == [[11.0], [0.0], [10.0]]


def test_gradients_of_summed_pairs_reach_rows_and_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    is_real_UT = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])
    pairs = pair_up(torch.tensor([[0, 1, 1], [2, 2, 2], [2, 0, 2]]), is_real_UT, 2)
    rows_ID = torch.randn(3, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    weights_P = torch.randn(10, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda rows, weights: sum_pairs(rows, pairs, weights), (rows_ID, weights_P))


def test_pooled_interest_is_the_weighted_sum_by_hand() -> None:
    """1·(1, 0) + 2·(0, 1) + 3·(1, 1) = (4, 5) for one candidate, −1·(1, 0) − 2·(0, 1) = (−1, −2) for the other."""
    keys_UTD = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
    weights_UCT = torch.tensor([[[1.0, 2.0, 3.0], [-1.0, -2.0, 0.0]]])
    assert pool_interest(weights_UCT, keys_UTD).tolist() == [[[4.0, 5.0], [-1.0, -2.0]]]


@pytest.mark.parametrize(
    ("pooling", "divisors"), [(Pooling.SUM, [1, 1, 1]), (Pooling.SQRTN, [2, 1, 1]), (Pooling.MEAN, [4, 1, 1])]
)
def test_pooling_divides_by_the_real_behaviours(pooling: Pooling, divisors: list[int]) -> None:
    """Users with four, one and no behaviours; the last keeps what it has, which is zero."""
    is_real_UT = torch.tensor([[True] * 4, [False, True, False, False], [False] * 4])
    sum_UCD = torch.tensor([[[8.0, 4.0]], [[8.0, 4.0]], [[0.0, 0.0]]])
    expected = [[[8.0 / divisor, 4.0 / divisor]] for divisor in divisors[:2]] + [[[0.0, 0.0]]]
    assert pooling.scale(sum_UCD, torch.zeros(3, 4, dtype=torch.int64), is_real_UT).tolist() == expected


@pytest.mark.parametrize(("pooling", "divisor"), [(Pooling.SUM, 1), (Pooling.SQRTN, 2), (Pooling.MEAN, 4)])
def test_without_padding_pooling_divides_by_all_behaviours(pooling: Pooling, divisor: int) -> None:
    sum_UCD = torch.tensor([[[8.0]]])
    assert pooling.scale(sum_UCD, torch.zeros(1, 4, dtype=torch.int64), None).tolist() == [[[8.0 / divisor]]]
    assert pooling.scale(sum_UCD * 0, torch.zeros(1, 0, dtype=torch.int64), None).tolist() == [[[0.0]]]


def test_no_behaviour_gives_zero_interest() -> None:
    assert pool_interest(torch.empty(1, 2, 0), torch.empty(1, 0, 3)).tolist() == [[[0.0] * 3] * 2]


def test_a_history_twice_as_long_gives_an_interest_twice_as_long() -> None:
    keys_UTD, weights_UCT = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[0.5]]])
    once = pool_interest(weights_UCT, keys_UTD)
    twice = pool_interest(weights_UCT.repeat(1, 1, 2), keys_UTD.repeat(1, 2, 1))
    assert twice.flatten().tolist() == pytest.approx((2 * once).flatten().tolist())
