"""The breaker's state machine, step by step and against a model of it."""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dinrank.service.store.circuit import Circuit, Outcome

FAILURES, OPEN_S, TIMEOUT_S = 3, 10.0, 1.0


def make_circuit() -> Circuit:
    return Circuit(failures=FAILURES, open_s=OPEN_S, timeout_s=TIMEOUT_S)


def call(circuit: Circuit, outcome: Outcome, now_s: float, waited_s: float = 0.0) -> None:
    number = circuit.begin(now_s)
    assert number is not None
    circuit.end(number, outcome, now_s, waited_s=waited_s)


def opened() -> Circuit:
    """Open from 0 to OPEN_S."""
    circuit = make_circuit()
    for _ in range(FAILURES):
        call(circuit, Outcome.FAILURE, 0.0)
    assert circuit.is_open
    return circuit


def test_a_success_in_between_keeps_the_circuit_closed() -> None:
    circuit = make_circuit()
    for outcome in [Outcome.FAILURE, Outcome.FAILURE, Outcome.SUCCESS, Outcome.FAILURE, Outcome.FAILURE]:
        call(circuit, outcome, 0.0)
    assert not circuit.is_open


def test_an_open_circuit_lets_nothing_through_and_then_one_probe() -> None:
    circuit = opened()
    assert circuit.begin(OPEN_S - 0.1) is None
    assert circuit.begin(OPEN_S) is not None
    assert circuit.begin(OPEN_S + 5.0) is None


def test_a_probe_that_succeeds_closes_the_circuit() -> None:
    circuit = opened()
    call(circuit, Outcome.SUCCESS, OPEN_S)
    assert not circuit.is_open
    assert circuit.begin(OPEN_S) is not None


def test_a_probe_that_fails_keeps_it_open_for_as_long_again() -> None:
    circuit = opened()
    call(circuit, Outcome.FAILURE, OPEN_S + 2.0)
    assert circuit.begin(2 * OPEN_S + 1.9) is None
    assert circuit.begin(2 * OPEN_S + 2.0) is not None


def test_a_probe_that_was_cut_short_leaves_the_next_call_to_probe() -> None:
    circuit = opened()
    call(circuit, Outcome.CUT_SHORT, OPEN_S)
    assert circuit.begin(OPEN_S) is not None


def test_what_began_before_it_opened_does_not_close_it() -> None:
    circuit = make_circuit()
    early = circuit.begin(0.0)
    assert early is not None
    for _ in range(FAILURES):
        call(circuit, Outcome.FAILURE, 0.0)
    circuit.end(early, Outcome.SUCCESS, 0.5, waited_s=0.5)
    assert circuit.is_open


def test_a_fetch_cut_short_is_no_failure_but_a_timeouts_length_of_them_is() -> None:
    circuit = make_circuit()
    for _ in range(4 * FAILURES - 1):
        call(circuit, Outcome.CUT_SHORT, 0.0, waited_s=TIMEOUT_S / 4)
        assert not circuit.is_open
    call(circuit, Outcome.CUT_SHORT, 0.0, waited_s=TIMEOUT_S / 4)
    assert circuit.is_open


@dataclass
class Begun:
    number: int
    was_open: bool
    age: int  # how often the circuit had changed


class CircuitAgainstModel(RuleBasedStateMachine):
    """The model counts in whole failures and keeps what is in flight; it knows the rules, not how they are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit = make_circuit()
        self.now_s = 0.0
        self.begun: list[Begun] = []
        self.changes = 0
        self.opened_s: float | None = None
        self.row: list[float] = []  # since the last success: 1 for a failure, less for one cut short

    def failures(self) -> int:
        count, rest = 0, 0.0
        for share in self.row:
            rest = 0.0 if share == 1 else rest + share
            if share == 1 or rest >= 1:
                count, rest = count + 1, 0.0
        return count

    def probes(self) -> int:
        return sum(begun.was_open and begun.age == self.changes for begun in self.begun)

    @rule(seconds=st.sampled_from([0.25, 1.0, OPEN_S - 0.25, OPEN_S]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @rule()
    def begin(self) -> None:
        number = self.circuit.begin(self.now_s)
        is_open = self.opened_s is not None
        is_due = not is_open or self.now_s >= self.opened_s + OPEN_S  # type: ignore[operator]  # is_open says so
        assert (number is not None) == (not is_open or (is_due and self.probes() == 0))
        if number is not None:
            self.begun.append(Begun(number, is_open, self.changes))

    @precondition(lambda self: self.begun)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome), quarters=st.integers(0, 4))
    def end(self, data: st.DataObject, outcome: Outcome, quarters: int) -> None:
        begun = self.begun.pop(data.draw(st.integers(0, len(self.begun) - 1)))
        self.circuit.end(begun.number, outcome, self.now_s, waited_s=quarters / 4 * TIMEOUT_S)
        if begun.age != self.changes:
            return
        before = self.failures()
        if outcome is Outcome.SUCCESS:
            self.row = []
            if begun.was_open:
                self.opened_s, self.changes = None, self.changes + 1
            return
        self.row.append(1 if outcome is Outcome.FAILURE else quarters / 4)
        if begun.was_open and self.failures() > before:
            self.opened_s = self.now_s
        elif not begun.was_open and self.failures() >= FAILURES:
            self.opened_s, self.changes = self.now_s, self.changes + 1

    @invariant()
    def both_are_open_or_closed(self) -> None:
        assert self.circuit.is_open == (self.opened_s is not None)


TestCircuitAgainstModel = CircuitAgainstModel.TestCase
TestCircuitAgainstModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
