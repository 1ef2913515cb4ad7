"""A host that keeps failing is left alone, then asked by one call alone. Time is a number."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sagahook.saga.breaker import Breaker, Circuit, Circuits, Outcome, Refusal, Ticket, admit, settle

BREAKER = Breaker(failures=3, open_seconds=30)
LEASE = 10.0


def let_through(circuit: Circuit, now: float = 0) -> tuple[Circuit, Ticket]:
    after, ticket = admit(circuit, now, LEASE)
    assert isinstance(ticket, Ticket)
    return after, ticket


def refused(circuit: Circuit, now: float) -> Refusal:
    after, refusal = admit(circuit, now, LEASE)
    assert isinstance(refusal, Refusal)
    assert after == circuit
    return refusal


def after(*outcomes: Outcome, circuit: Circuit | None = None, now: float = 0) -> Circuit:
    """Calls one after the other."""
    circuit = circuit or Circuit()
    for outcome in outcomes:
        circuit, ticket = let_through(circuit, now)
        circuit = settle(circuit, ticket, outcome, now, BREAKER)
    return circuit


OPEN = after("failed", "failed", "failed")


def test_only_failures_one_after_the_other_open_it() -> None:
    assert after("failed", "failed", "succeeded", "failed", "failed").state == "closed"
    assert after("failed", "dropped", "failed", "dropped", "failed").state == "open"


def test_while_it_is_open_a_caller_is_told_how_long_it_still_is() -> None:
    assert refused(OPEN, now=0) == Refusal(30, probing=False)
    assert refused(OPEN, now=29.5) == Refusal(0.5, probing=False)


def test_the_first_caller_afterwards_is_the_probe_and_the_others_are_refused_while_it_is_under_way() -> None:
    probing, _ = let_through(OPEN, now=30)
    assert refused(probing, now=31) == Refusal(9, probing=True)


def test_a_probe_that_succeeds_closes_it_with_nothing_held_against_the_host() -> None:
    assert after("succeeded", "failed", "failed", circuit=OPEN, now=30).state == "closed"


def test_a_probe_that_fails_opens_it_for_as_long_again() -> None:
    assert refused(after("failed", circuit=OPEN, now=40), now=40).seconds == 30


def test_when_the_probe_is_cancelled_the_next_caller_is_the_probe() -> None:
    dropped = after("dropped", circuit=OPEN, now=30)
    probing, _ = let_through(dropped, now=30)
    assert refused(probing, now=30).probing


def test_a_probe_that_never_reports_is_replaced_when_its_time_is_up() -> None:
    probing, lost = let_through(OPEN, now=30)
    probing, _ = let_through(probing, now=40)
    assert settle(probing, lost, "succeeded", 41, BREAKER) == probing


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "dropped"])
def test_what_was_let_through_before_says_nothing_once_the_state_has_changed(outcome: Outcome) -> None:
    before, late = let_through(Circuit())
    opened = after("failed", "failed", "failed", circuit=before)
    assert settle(opened, late, outcome, 1, BREAKER) == opened
    probing, _ = let_through(opened, now=30)
    assert settle(probing, late, outcome, 31, BREAKER) == probing
    closed = after("succeeded", circuit=opened, now=30)
    assert settle(closed, late, outcome, 32, BREAKER) == closed


def test_hosts_and_settings_have_circuits_of_their_own() -> None:
    circuits = Circuits()
    ticket = circuits.admit("http://a", Breaker(1), 0, LEASE)
    assert isinstance(ticket, Ticket)
    circuits.settle("http://a", Breaker(1), ticket, "failed", 0)
    assert isinstance(circuits.admit("http://a", Breaker(1), 1, LEASE), Refusal)
    assert isinstance(circuits.admit("http://b", Breaker(1), 1, LEASE), Ticket)
    assert isinstance(circuits.admit("http://a", Breaker(2), 1, LEASE), Ticket)


def test_healthy_hosts_without_end_are_not_remembered_and_an_open_circuit_is() -> None:
    circuits = Circuits()
    ticket = circuits.admit("http://sick", Breaker(1), 0, LEASE)
    assert isinstance(ticket, Ticket)
    circuits.settle("http://sick", Breaker(1), ticket, "failed", 0)
    for number in range(5_000):
        circuits.admit(f"http://{number}", Breaker(1), 1, LEASE)
    assert len(circuits) <= 1_025
    assert isinstance(circuits.admit("http://sick", Breaker(1), 1, LEASE), Refusal)


@pytest.mark.parametrize("wrong", [(0, 30), (5, 0), (5, -1), (5, float("nan")), (5, 3_601)])
def test_settings_that_make_no_sense_are_refused(wrong: tuple[int, float]) -> None:
    with pytest.raises(ValueError, match="breaker"):
        Breaker(*wrong)


@given(st.lists(st.sampled_from(["succeeded", "failed"]), max_size=40), st.integers(1, 6))
def test_it_is_open_exactly_when_the_last_calls_all_failed(outcomes: list[Outcome], limit: int) -> None:
    breaker, circuit, row = Breaker(limit, 30), Circuit(), 0
    for outcome in outcomes:
        circuit, ticket = let_through(circuit)
        circuit = settle(circuit, ticket, outcome, 0, breaker)
        row = row + 1 if outcome == "failed" else 0
        assert (circuit.state == "open") == (row == limit)
        if row == limit:
            return


@dataclass
class Under:
    """A call under way. probe: it was let through after the circuit had opened."""

    ticket: Ticket
    ends: float
    probe: bool


class ManyCallers(RuleBasedStateMachine):
    """Callers come, end and are cancelled in any order, while time goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.circuits, self.now, self.under_way = Circuits(), 0.0, list[Under]()

    def _state(self) -> str:
        return self.circuits.circuit("http://host", BREAKER).state

    @rule()
    def a_caller_comes(self) -> None:
        was_closed = self._state() == "closed"
        answer = self.circuits.admit("http://host", BREAKER, self.now, LEASE)
        if isinstance(answer, Refusal):
            assert not was_closed
            assert 0 < answer.seconds < BREAKER.open_seconds + 0.001  # the clock's sums are rounded
        else:
            self.under_way.append(Under(answer, self.now + LEASE, probe=not was_closed))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), outcome=st.sampled_from(["succeeded", "failed", "dropped"]))
    def a_call_ends(self, data: st.DataObject, outcome: Outcome) -> None:
        call = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.circuits.settle("http://host", BREAKER, call.ticket, outcome, self.now)

    @rule(seconds=st.sampled_from([0.1, 5, 10, 30]))
    def time_goes_on(self, seconds: float) -> None:
        self.now += seconds
        self.under_way = [call for call in self.under_way if call.ends > self.now]

    @invariant()
    def there_is_one_probe_at_most(self) -> None:
        if self._state() == "probing":
            assert sum(call.probe for call in self.under_way) <= 1

    @invariant()
    def it_is_never_stuck(self) -> None:
        at_the_latest = self.now + max(BREAKER.open_seconds, LEASE)
        _, answer = admit(self.circuits.circuit("http://host", BREAKER), at_the_latest, LEASE)
        assert isinstance(answer, Ticket)


TestManyCallers = ManyCallers.TestCase
