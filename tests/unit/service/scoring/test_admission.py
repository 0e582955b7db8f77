"""Who works, who waits and who is refused, on a clock that the tests move."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinrank.service.errors import DeadlineTooShort, Overloaded
from dinrank.service.scoring.admission import Admission, Turn

PLACES, MAX_WAITING, MAX_WAIT_S = 2, 3, 10.0
FOR_EVER = math.inf


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admission(clock: Clock) -> Admission:
    return Admission(num_places=PLACES, max_waiting=MAX_WAITING, max_wait_s=MAX_WAIT_S, clock=clock)


def arrive(admission: Admission, count: int = 1) -> list[Turn]:
    return [admission.arrive(FOR_EVER) for _ in range(count)]


def learn(admission: Admission, clock: Clock, worked_s: float) -> None:
    """That requests take so long."""
    [turn] = arrive(admission)
    clock.now_s += worked_s
    admission.leave(turn, was_answered=True)


def test_requests_get_places_until_none_is_free(admission: Admission) -> None:
    assert [turn.has_place for turn in arrive(admission, 4)] == [True, True, False, False]


def test_places_come_in_order_of_arrival(admission: Admission) -> None:
    first, second, *waiting = arrive(admission, 5)
    woken: list[Turn] = []
    for turn in waiting:
        turn.wake = lambda turn=turn: woken.append(turn)  # type: ignore[misc]  # a default is not in the type
    admission.leave(second, was_answered=True)
    admission.leave(first, was_answered=True)
    assert woken == waiting[:2]
    assert [turn.has_place for turn in waiting] == [True, True, False]


def test_a_full_queue_refuses(admission: Admission) -> None:
    arrive(admission, PLACES + MAX_WAITING)
    with pytest.raises(Overloaded):
        admission.arrive(FOR_EVER)
    assert (admission.num_at_work, admission.num_waiting) == (PLACES, MAX_WAITING)


def test_who_leaves_the_queue_makes_room_in_it(admission: Admission) -> None:
    turns = arrive(admission, PLACES + MAX_WAITING)
    admission.leave(turns[3], was_answered=False)
    assert arrive(admission)[0].has_place is False
    admission.leave(turns[0], was_answered=True)
    assert turns[2].has_place
    assert not turns[3].has_place


def test_a_wait_that_would_be_too_long_is_refused_at_once(admission: Admission, clock: Clock) -> None:
    learn(admission, clock, 0.9 * PLACES * MAX_WAIT_S / 2)  # a place falls free every 0.45 of the longest wait
    arrive(admission, PLACES + 2)
    with pytest.raises(Overloaded) as caught:
        admission.arrive(FOR_EVER)
    assert caught.value.retry_after_s == math.ceil(3 * 0.45 * MAX_WAIT_S)


def test_retrying_makes_no_sense_within_a_second(admission: Admission, clock: Clock) -> None:
    learn(admission, clock, 0.01)
    arrive(admission, PLACES + MAX_WAITING)
    with pytest.raises(Overloaded) as caught:
        admission.arrive(FOR_EVER)
    assert caught.value.retry_after_s == 1


def test_a_deadline_before_the_expected_answer_is_refused_and_takes_no_place(
    admission: Admission, clock: Clock
) -> None:
    learn(admission, clock, 1.0)
    with pytest.raises(DeadlineTooShort):
        admission.arrive(0.9)
    assert admission.num_at_work == 0
    assert admission.arrive(1.1).has_place


def test_the_wait_in_the_queue_counts_towards_the_deadline(admission: Admission, clock: Clock) -> None:
    learn(admission, clock, 1.0)
    arrive(admission, PLACES + 1)
    # Two gaps of 1.0 / PLACES in the queue, and then the work itself.
    with pytest.raises(DeadlineTooShort):
        admission.arrive(1.9)
    assert not admission.arrive(2.1).has_place


def test_a_deadline_that_has_passed_is_refused_even_when_nothing_is_known(admission: Admission) -> None:
    with pytest.raises(DeadlineTooShort):
        admission.arrive(0.0)


def test_one_slow_answer_does_not_make_deadlines_hopeless(admission: Admission, clock: Clock) -> None:
    learn(admission, clock, 0.1)
    learn(admission, clock, 0.9)
    assert admission.arrive(0.2).has_place


def test_refusing_everybody_does_not_last_over_a_second(admission: Admission, clock: Clock) -> None:
    learn(admission, clock, 5.0)
    with pytest.raises(DeadlineTooShort):
        admission.arrive(0.1)
    clock.now_s += 1.1
    assert admission.arrive(0.1).has_place


def test_what_was_not_answered_does_not_say_how_quick_answers_are(admission: Admission, clock: Clock) -> None:
    learn(admission, clock, 0.5)
    [refused] = arrive(admission)
    clock.now_s += 0.01
    admission.leave(refused, was_answered=False)
    with pytest.raises(DeadlineTooShort):
        admission.arrive(0.4)


def test_a_turn_waits_no_longer_than_its_caller_or_the_limit(admission: Admission, clock: Clock) -> None:
    learn(admission, clock, 0.5)
    assert admission.patience_s(FOR_EVER) == MAX_WAIT_S
    assert admission.patience_s(2.0) == 1.5


def test_waiting_for_the_store_is_not_what_an_answer_needs(admission: Admission, clock: Clock) -> None:
    [turn] = arrive(admission)
    clock.now_s += 0.9
    admission.leave(turn, was_answered=True, store_s=0.8)
    assert admission.arrive(0.2).has_place
    with pytest.raises(DeadlineTooShort):
        admission.arrive(0.05)


def test_the_wait_for_the_scoring_counts_towards_the_longest_wait(admission: Admission, clock: Clock) -> None:
    [turn] = arrive(admission)
    clock.now_s += 5.0
    admission.leave(turn, was_answered=True, waited_s=0.9 * MAX_WAIT_S)
    assert admission.patience_s(FOR_EVER) == pytest.approx(0.1 * MAX_WAIT_S)
    arrive(admission, PLACES)
    with pytest.raises(Overloaded):  # 2.5 in the queue and 9.0 at work
        admission.arrive(FOR_EVER)


def test_requests_that_never_came_to_the_scoring_say_nothing_about_the_wait_for_it(
    admission: Admission, clock: Clock
) -> None:
    [turn, malformed] = arrive(admission, PLACES)
    admission.leave(turn, was_answered=True, waited_s=4.0)
    admission.leave(malformed, was_answered=False)
    assert admission.patience_s(FOR_EVER) == MAX_WAIT_S - 4.0


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["arrive", "leave"]), st.integers(0, 9)), max_size=60))
def test_no_order_of_events_loses_a_place_or_passes_anybody_over(events: list[tuple[str, int]]) -> None:
    admission = Admission(num_places=PLACES, max_waiting=MAX_WAITING, max_wait_s=MAX_WAIT_S, clock=lambda: 0.0)
    present: list[Turn] = []  # in order of arrival
    for event, which in events:
        if event == "arrive" and len(present) < PLACES + MAX_WAITING:
            present.append(admission.arrive(FOR_EVER))
        elif event == "arrive":
            with pytest.raises(Overloaded):
                admission.arrive(FOR_EVER)
        elif present:
            admission.leave(present.pop(which % len(present)), was_answered=True)
        assert [turn.has_place for turn in present] == [number < PLACES for number in range(len(present))]
        assert admission.num_at_work + admission.num_waiting == len(present)
