"""Which of several models has a user."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinrank.service.lineup.split import challenger_of, point_of
from dinrank.service.settings import Challenger, parse_challengers, spell_challengers

NUM_USERS = 20_000


def test_the_split_is_the_same_for_ever() -> None:
    """Worked out once with b2sum: the first 8 bytes of BLAKE2b-64 of salt, a zero byte and the id."""
    assert point_of("42", "") == pytest.approx(0x1567EB7932BB9A28 / 2**64, abs=1e-15)


@pytest.mark.parametrize("shares", [[0.1], [0.25, 0.5], [1.0], [0.01, 0.02, 0.03]])
def test_each_challenger_gets_its_share_of_the_users(shares: list[float]) -> None:
    users = [challenger_of(point_of(f"user {number}", "a salt"), shares) for number in range(NUM_USERS)]
    for place, share in enumerate(shares):
        # Binomial: five standard deviations are missed once in two million seeds, and this one is fixed.
        assert abs(users.count(place) / NUM_USERS - share) <= 5 * math.sqrt(share * (1 - share) / NUM_USERS)


def test_another_salt_deals_anew_and_independently() -> None:
    first = [point_of(str(number), "one") < 0.5 for number in range(NUM_USERS)]
    second = [point_of(str(number), "two") < 0.5 for number in range(NUM_USERS)]
    both = sum(a and b for a, b in zip(first, second, strict=True)) / NUM_USERS
    assert both == pytest.approx(0.25, abs=5 * math.sqrt(0.25 * 0.75 / NUM_USERS))


@given(st.text(max_size=20), st.floats(0.01, 0.5), st.floats(0.01, 0.5))
def test_a_growing_share_takes_users_from_the_champion_alone(user_id: str, share: float, more: float) -> None:
    point = point_of(user_id, "")
    if challenger_of(point, [share]) == 0:
        assert challenger_of(point, [share + more]) == 0


@given(st.text(st.characters(), max_size=20))
def test_every_id_has_a_point(user_id: str) -> None:
    assert 0.0 <= point_of(user_id, "salt") < 1.0


def test_challengers_are_read_and_spelled_alike() -> None:
    text = "bundles/new:0.1,/models/a:b:0.25, bundles/next:shadow"
    challengers = parse_challengers(text)
    assert [(str(each.bundle), each.share) for each in challengers] == [
        ("bundles/new", 0.1),
        ("/models/a:b", 0.25),
        ("bundles/next", None),
    ]
    assert parse_challengers(spell_challengers(challengers)) == challengers
    assert parse_challengers("") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bundles/new", "write PATH:SHARE"),
        (":0.1", "write PATH:SHARE"),
        ("bundles/new:half", "'half' in 'bundles/new:half' is no share"),
        ("bundles/new:0", "a number above 0"),
        ("bundles/new:nan", "a number above 0"),
        ("bundles/new:1.1", "at most 1"),
        ("a:0.6,b:0.6", "add up to 1.2"),
    ],
)
def test_what_is_no_challenger_is_refused_with_what_is(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_challengers(text)


def test_a_challenger_spells_itself() -> None:
    assert str(Challenger.parse("bundles/new:0.10")) == "bundles/new:0.1"
