"""The oracle judges the engine, so it is itself held to account: what is lawful passes, every kind of violation
is found."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.oracle import LimitLogged, Logged, Plan, Planned, check_effects, check_limit, check_log, line

PLANS = {"order@1": line(("reserve", True), ("charge", True), ("ship", False))}
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
Log = list[Logged]


class Scribe:
    """Writes the log of one saga by hand, a second apart."""

    def __init__(self, saga: str = "saga", run: int = 1) -> None:
        self.saga, self.run = saga, run
        self.log: Log = []

    def add(self, kind: str, **data: Any) -> "Scribe":
        number = len(self.log) + 1
        time = NOON + timedelta(seconds=number)
        self.log.append(Logged(self.saga, self.run, number, f"sagahook.{kind}.v1", data, time, 0, 1))
        return self

    def started(self, total_steps: int = 3) -> "Scribe":
        return self.add(
            "saga.started",
            name="order",
            version=1,
            definition_hash="hash",
            event_id="evt-1",
            total_steps=total_steps,
        )

    def scheduled(self, step: str, phase: str = "action", attempt: int = 1) -> "Scribe":
        key = f"{self.saga}/{self.run}/{step}/{phase}"
        return self.add("step.scheduled", step=step, phase=phase, attempt=attempt, idempotency_key=key)

    def completed(self, step: str, phase: str = "action", attempt: int = 1) -> "Scribe":
        return self.add("step.completed", step=step, phase=phase, attempt=attempt)

    def failed(self, step: str, phase: str = "action", attempt: int = 1, outcome: str = "failed") -> "Scribe":
        return self.add(
            "step.failed", step=step, phase=phase, attempt=attempt, error="E: no", outcome=outcome
        )

    def lost(self, step: str, attempt: int = 1, reason: str = "crash") -> "Scribe":
        return self.add("step.attempt_lost", step=step, phase="action", attempt=attempt, reason=reason)

    def retry(self, step: str, attempt: int, phase: str = "action", after: float = 0) -> "Scribe":
        due = NOON + timedelta(seconds=len(self.log) + 1 + after)
        return self.add(
            "step.retry_scheduled", step=step, phase=phase, attempt=attempt, due_at=due.isoformat()
        )

    def done(self, *steps: str, phase: str = "action") -> "Scribe":
        for step in steps:
            self.scheduled(step, phase).completed(step, phase)
        return self

    def compensating(self, failed_step: str, *steps: str) -> "Scribe":
        return self.add("saga.compensating", failed_step=failed_step, error="E: no", steps=list(steps))

    def rolled_back(self, failed_step: str) -> "Scribe":
        return self.add("saga.rolled_back", failed_step=failed_step, error="E: no")

    def joined(self, state: str, event_id: str = "evt-2") -> "Scribe":
        return self.add("saga.joined", state=state, event_id=event_id)


def complete() -> Scribe:
    return Scribe().started().done("reserve", "charge", "ship").add("saga.completed")


def undoing() -> Scribe:
    """A refused last step; what was done is about to be undone."""
    return Scribe().started().done("reserve", "charge").scheduled("ship").failed("ship")


def rolled_back() -> Scribe:
    undone = undoing().compensating("ship", "charge", "reserve")
    return undone.done("charge", "reserve", phase="compensation").rolled_back("ship")


def failed(*unresolved: str) -> Scribe:
    broken = undoing().compensating("ship", "charge", "reserve").done("charge", phase="compensation")
    broken.scheduled("reserve", "compensation").failed("reserve", "compensation")
    return broken.add("saga.failed", failed_step="ship", unresolved=list(unresolved))


LAWFUL = {
    "completed": complete(),
    "rolled back": rolled_back(),
    "failed": failed("reserve"),
    "joined on the way and after the end": complete().joined("COMPLETED"),
    "retried": Scribe()
    .started()
    .scheduled("reserve")
    .failed("reserve")
    .retry("reserve", 2)
    .scheduled("reserve", attempt=2),
    "an unknown outcome is undone": Scribe()
    .started()
    .scheduled("reserve")
    .failed("reserve", outcome="unknown")
    .compensating("reserve", "reserve")
    .done("reserve", phase="compensation")
    .rolled_back("reserve"),
    "suspended": Scribe().started().scheduled("reserve").add("saga.suspended", reason="why"),
}


@pytest.mark.parametrize("log", LAWFUL.values(), ids=LAWFUL)
def test_a_lawful_log_passes_with_and_without_the_plans(log: Scribe) -> None:
    assert check_log(log.log, PLANS) == []
    assert check_log(log.log) == []


ILLEGAL: dict[str, tuple[Scribe, str]] = {
    "no start": (Scribe().scheduled("reserve"), "cannot follow nothing"),
    "two starts": (Scribe().started().started(), "cannot follow saga.started"),
    "completed before its last step": (
        Scribe().started().done("reserve", "charge").add("saga.completed"),
        "number of steps done: 2",
    ),
    "completed after undoing": (
        undoing().compensating("ship", "charge", "reserve").add("saga.completed"),
        "cannot follow saga.compensating",
    ),
    "a step twice": (Scribe().started().done("reserve", "reserve"), "reserve is already done"),
    "steps out of order": (Scribe().started().done("charge"), "step: charge, where reserve must be"),
    "an outcome of an attempt that was not scheduled": (
        Scribe().started().scheduled("reserve").completed("reserve", attempt=2),
        "attempt: ('reserve', 'action', 2)",
    ),
    "two outcomes of one attempt": (
        Scribe().started().done("reserve").completed("reserve"),
        "cannot follow step.completed",
    ),
    "another attempt without a retry": (
        Scribe().started().scheduled("reserve").failed("reserve").scheduled("reserve", attempt=2),
        "cannot follow: reserve ended",
    ),
    "a retry of another attempt": (
        Scribe().started().scheduled("reserve").failed("reserve").retry("reserve", 3),
        "attempt: ('reserve', 'action', 3)",
    ),
    "a retry before it is due": (
        Scribe()
        .started()
        .scheduled("reserve")
        .failed("reserve")
        .retry("reserve", 2, after=60)
        .scheduled("reserve", attempt=2),
        "its retry is not due before",
    ),
    "a retry due before it was set": (
        Scribe().started().scheduled("reserve").failed("reserve").retry("reserve", 2, after=-5),
        "it is due before it was set",
    ),
    "a retry after three crashes": (
        Scribe()
        .started()
        .scheduled("reserve")
        .lost("reserve")
        .retry("reserve", 2)
        .scheduled("reserve", attempt=2)
        .lost("reserve", 2)
        .retry("reserve", 3)
        .scheduled("reserve", attempt=3)
        .lost("reserve", 3)
        .retry("reserve", 4),
        "3 processes died of reserve",
    ),
    "undone in the order of doing": (
        undoing().compensating("ship", "reserve", "charge"),
        "steps: ['reserve', 'charge']",
    ),
    "the undoing forgets a step": (undoing().compensating("ship", "charge"), "steps: ['charge']"),
    "the undoing of a step that certainly failed": (
        Scribe().started().scheduled("reserve").failed("reserve").compensating("reserve", "reserve"),
        "steps: ['reserve'], where [] must be",
    ),
    "the undoing of a lost attempt is forgotten": (
        Scribe()
        .started()
        .scheduled("reserve")
        .lost("reserve")
        .retry("reserve", 2)
        .scheduled("reserve", attempt=2)
        .failed("reserve", attempt=2)
        .compensating("reserve"),
        "steps: [], where ['reserve'] must be",
    ),
    "compensations out of order": (
        undoing().compensating("ship", "charge", "reserve").done("reserve", phase="compensation"),
        "step: reserve, where charge must be",
    ),
    "an action after the undoing began": (
        undoing().compensating("ship", "charge", "reserve").scheduled("ship"),
        "cannot follow saga.compensating while COMPENSATING",
    ),
    "rolled back with something left": (
        undoing().compensating("ship", "charge", "reserve").rolled_back("ship"),
        "steps left to undo",
    ),
    "the rollback names another step": (
        Scribe()
        .started()
        .scheduled("reserve")
        .failed("reserve")
        .compensating("reserve")
        .rolled_back("charge"),
        "failed_step: charge",
    ),
    "failed without saying what is left behind": (failed(), "unresolved: [], where ['reserve'] must be"),
    "failed while a retry is set": (
        undoing()
        .compensating("ship", "charge", "reserve")
        .scheduled("charge", "compensation")
        .failed("charge", "compensation")
        .retry("charge", 2, "compensation")
        .add("saga.failed", failed_step="ship", unresolved=["charge", "reserve"]),
        "cannot follow step.retry_scheduled",
    ),
    "something after the end": (complete().scheduled("reserve"), "cannot follow saga.completed"),
    "suspended after the end": (
        complete().add("saga.suspended", reason="why"),
        "cannot follow saga.completed",
    ),
    "suspended without a reason": (Scribe().started().add("saga.suspended", reason=""), "no reason"),
    "a join that sees another state": (complete().joined("EXECUTING"), "state: EXECUTING"),
    "one webhook joined twice": (complete().joined("COMPLETED").joined("COMPLETED"), "was answered before"),
    "the starting webhook joins": (complete().joined("COMPLETED", "evt-1"), "was answered before"),
    "a join of nothing": (Scribe().joined("NEW"), "nothing to join"),
    "an event of no known type": (Scribe().started().add("saga.danced"), "cannot follow"),
    "an event without its fields": (Scribe().started().add("step.scheduled", step="reserve"), "no field"),
    "a foreign idempotency key": (
        Scribe()
        .started()
        .add(
            "step.scheduled", step="reserve", phase="action", attempt=1, idempotency_key="x/1/reserve/action"
        ),
        "idempotency_key",
    ),
    "a transaction of which only a part is visible": (
        Scribe().started().done("reserve"),
        "the log ends with step.completed",
    ),
    "a further run that nobody asked for": (Scribe(run=2).started(), "nobody asked for a further run"),
}


@pytest.mark.parametrize(("log", "violation"), ILLEGAL.values(), ids=ILLEGAL)
def test_each_violation_is_found_and_named(log: Scribe, violation: str) -> None:
    (found,) = check_log(log.log, PLANS)
    assert violation in found
    assert found.startswith("saga/")


@pytest.mark.parametrize("log", [complete().log, rolled_back().log, failed("reserve").log])
def test_no_event_can_be_missing_doubled_or_out_of_place(log: Log) -> None:
    def renumbered(events: Log) -> Log:
        return [event._replace(sequence=number, time=None) for number, event in enumerate(events, 1)]

    for index in range(len(log)):
        without = log[:index] + log[index + 1 :]
        doubled = log[: index + 1] + log[index:]
        swapped = log[:index] + log[index + 1 : index + 2] + log[index : index + 1] + log[index + 2 :]
        assert check_log(without, PLANS) or without == log[:-1]
        assert check_log(doubled, PLANS)
        assert check_log(swapped, PLANS) or swapped == log
        if without != log[:-1]:
            assert check_log(renumbered(without), PLANS)
        assert check_log(renumbered(doubled), PLANS)
        assert check_log(renumbered(swapped), PLANS) or swapped == log


@pytest.mark.parametrize(
    ("change", "violation"),
    [
        (lambda event: event._replace(partition=1), "in partition 1, earlier in 0"),
        (lambda event: event._replace(epoch=0), "epoch 0 after 1"),
        (lambda event: event._replace(time=NOON), "its time"),
    ],
)
def test_partitions_epochs_and_times_never_go_back(
    change: Callable[[Logged], Logged], violation: str
) -> None:
    log = complete().log
    log[4] = change(log[4])
    assert any(violation in found for found in check_log(log))


def test_a_further_run_begins_after_the_end_of_the_last_one() -> None:
    again = [event._replace(partition=None) for event in Scribe(run=2).started().scheduled("reserve").log]
    assert check_log(complete().log + again, PLANS, reruns=True) == []
    (found,) = check_log(complete().log[:-1] + again, PLANS, reruns=True, at_rest=False)
    assert "it began before the end of run 1" in found


def test_records_of_owners_are_passed_over_and_plain_tuples_will_do() -> None:
    owner = Logged("", 0, 0, "sagahook.owner.acquired.v1", {"epoch": 1})
    plain = [tuple(event)[:5] for event in complete().log]
    assert check_log([owner, *plain], PLANS) == []


def key(step: str, phase: str = "action") -> str:
    return f"saga/1/{step}/{phase}"


DONE = [key("reserve"), key("charge")]
UNDONE = [key("charge", "compensation"), key("reserve", "compensation")]

EFFECTS: dict[str, tuple[Scribe, list[str], str]] = {
    "all applied once": (complete(), [*DONE, key("ship")], ""),
    "all undone": (rolled_back(), [*DONE, *UNDONE], ""),
    "what was never done needs no undoing": (LAWFUL["an unknown outcome is undone"], [], ""),
    "what it says is left behind": (failed("reserve"), [*DONE, key("charge", "compensation")], ""),
    "applied twice": (complete(), [*DONE, key("ship"), key("ship")], "more than once"),
    "applied without being scheduled": (
        Scribe().started().scheduled("reserve"),
        [key("charge")],
        "no step.scheduled was committed",
    ),
    "a success without an effect": (complete(), DONE, "saga/1/ship/action: its success is in the log"),
    "an undoing without an effect": (rolled_back(), [*DONE, UNDONE[0]], "its success is in the log"),
    "more left behind than it says": (failed("reserve"), [*DONE, UNDONE[1]], "left behind ['charge']"),
    "an effect left behind by a rollback": (
        Scribe()
        .started()
        .scheduled("reserve")
        .failed("reserve")
        .compensating("reserve")
        .rolled_back("reserve"),
        [key("reserve")],
        "it left behind ['reserve']",
    ),
}


@pytest.mark.parametrize(("log", "applied", "violation"), EFFECTS.values(), ids=EFFECTS)
def test_effects_are_held_against_the_log(log: Scribe, applied: list[str], violation: str) -> None:
    found = check_effects(log.log, applied, PLANS)
    assert bool(found) == bool(violation)
    assert violation in "\n".join(found)


DIAMOND = {
    "order@1": Plan(
        {
            "reserve": Planned("reserve"),
            "charge": Planned("charge", after=("reserve",)),
            "pack": Planned("pack", after=("reserve",), pivot=True),
            "ship": Planned("ship", after=("charge", "pack")),
        }
    )
}


def branched() -> Scribe:
    """Both branches of the diamond are under way."""
    return Scribe().started(4).done("reserve").scheduled("charge").scheduled("pack")


GRAPHS: dict[str, tuple[Scribe, str]] = {
    "branches at once": (branched().completed("pack").completed("charge").scheduled("ship"), ""),
    "a step before its predecessors": (
        branched().completed("charge").scheduled("ship"),
        "pack must be done before it",
    ),
    "a branch that is not begun": (Scribe().started(4).done("reserve").scheduled("charge"), "pack may begin"),
    "undoing while something is under way": (
        branched().failed("charge").compensating("charge", "reserve"),
        "it is not settled",
    ),
    "undoing past the pivot": (
        branched().completed("pack").failed("charge").compensating("charge", "pack", "reserve"),
        "nothing is undone past a pivot",
    ),
    "failing with a branch in flight": (
        branched().failed("charge").add("saga.failing", failed_step="charge", error="E: no"),
        "",
    ),
    "something begins while it fails": (
        branched()
        .failed("charge")
        .add("saga.failing", failed_step="charge", error="E: no")
        .retry("charge", 2),
        "the saga fails, and nothing more begins",
    ),
    "undone against the levels": (
        branched()
        .failed("charge", outcome="unknown")
        .add("saga.failing", failed_step="charge", error="E: no")
        .failed("pack")
        .compensating("charge", "reserve", "charge"),
        "is not against the order of doing",
    ),
    "suspended past no pivot": (
        branched().failed("charge").add("saga.suspended", reason="why", cause="forward"),
        "nothing that was done forbids undoing",
    ),
    "called off, and it goes on": (
        branched().add("saga.cancelled", actor="ann").completed("charge"),
        "the saga was called off",
    ),
}


@pytest.mark.parametrize(("log", "violation"), GRAPHS.values(), ids=GRAPHS)
def test_graphs_are_judged_by_their_predecessors_levels_and_pivots(log: Scribe, violation: str) -> None:
    found = check_log(log.log, DIAMOND)
    assert bool(found) == bool(violation)
    assert violation in "\n".join(found)


def slot(kind: str, ticket: int, in_use: int = 0, after: float = 0) -> LimitLogged:
    data = {"saga_id": f"saga-{ticket}", "run": 1, "ticket": ticket, "in_use": in_use, "allowed": 1}
    return LimitLogged(f"limit.slot_{kind}", data, NOON + timedelta(seconds=after))


LIMITS: dict[str, tuple[list[LimitLogged], str]] = {
    "one after the other": (
        [
            *(slot("requested", 1), slot("granted", 1, 1), slot("requested", 2)),
            *(slot("released", 1, 0), slot("granted", 2, 1, after=60), slot("released", 2, 0)),
        ],
        "",
    ),
    "two at once": (
        [*(slot("requested", 1), slot("granted", 1, 1)), *(slot("requested", 2), slot("granted", 2, 2))],
        "2 at once, where 1 are allowed",
    ),
    "out of turn": (
        [slot("requested", 1), slot("requested", 2), slot("granted", 2, 1)],
        "it is not its turn",
    ),
    "dropped": ([slot("requested", 1)], "it was never let in"),
    "kept": ([slot("requested", 1), slot("granted", 1, 1)], "it never gave its slot back"),
    "too fast": (
        [
            *(slot("requested", 1), slot("granted", 1, 1), slot("released", 1, 0)),
            *(slot("requested", 2), slot("granted", 2, 1, after=5), slot("released", 2, 0)),
        ],
        "too many",
    ),
}


@pytest.mark.parametrize(("log", "violation"), LIMITS.values(), ids=LIMITS)
def test_limits_are_judged_by_their_turns_and_their_bounds(log: list[LimitLogged], violation: str) -> None:
    found = check_limit(log, rate=(1, 60.0))
    assert bool(found) == bool(violation)
    assert violation in "\n".join(found)
