"""What holds for every saga: random definitions, outcomes, duplicates, joins and crashes.

The runs are judged by `tests.oracle`, which shares nothing with the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from random import Random
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from sagahook_runner.domain.commands import (
    AttemptFailed,
    AttemptLost,
    AttemptSucceeded,
    Command,
    Park,
    StepDue,
)
from sagahook_runner.domain.decide import decide
from sagahook_runner.domain.evolve import evolve, fold
from sagahook_runner.domain.state import FINAL, SagaState
from sagahook_schemas.base import Contract, JsonValue
from sagahook_schemas.codec import decode_data
from sagahook_schemas.definitions import CompensationDefinition, Retry, SagaDefinition, StepDefinition
from sagahook_schemas.sagas import (
    OwnerAcquired,
    SagaCompensating,
    SagaCompleted,
    SagaFailed,
    SagaJoined,
    SagaRolledBack,
    SagaStarted,
    SagaSuspended,
)
from sagahook_schemas.steps import (
    StepAttemptLost,
    StepCompleted,
    StepFailed,
    StepRetryScheduled,
    StepScheduled,
)
from tests.oracle import Plans, check_effects, check_log
from tests.saga_world import BEGINNING, Attempted, Try, World, plans, start

bounded = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

# -- what is drawn ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A definition, and what its attempts come to: by step, phase and a number, which is the attempt's, or of
    the failures before it. What is not given is ok."""

    definition: SagaDefinition
    tries: dict[tuple[str, str, int], Try]

    def by_attempt(self, attempted: Attempted) -> Try:
        return self.tries.get((attempted.step, attempted.phase, attempted.attempt - 1), "ok")

    @property
    def plans(self) -> Plans:
        return plans([self.definition])

    def world(self) -> World:
        return World([self.definition], self.by_attempt)


def random_retry(dice: Random) -> Retry:
    return Retry(
        max=dice.randrange(4),
        initial=dice.choice([0.0, 0.05, 1.0]),
        factor=dice.choice([1.0, 2.0]),
        jitter=dice.choice([0.0, 0.5, 1.0]),
        cap=dice.choice([0.5, 300.0]),
    )


def random_definition(dice: Random) -> SagaDefinition:
    """1 to 6 steps, some without a compensation, each with retries of its own."""
    return SagaDefinition(
        name="order",
        version=1,
        triggers=(),
        steps=tuple(
            StepDefinition(
                name=name,
                timeout=0.5,
                retry=random_retry(dice),
                compensation=CompensationDefinition(timeout=0.5, retry=random_retry(dice))
                if dice.random() < 0.75
                else None,
            )
            for name in "abcdef"[: dice.randrange(1, 7)]
        ),
    )


def random_case(seed: int, comes_to: tuple[Try, ...]) -> Case:
    """Up to a dozen tries go wrong somewhere. In most cases one step, rather a late one, is refused for good; in
    some of these a compensation is too, or kills its process again and again."""
    dice = Random(seed)
    definition = random_definition(dice)
    names = [step.name for step in definition.steps]
    tries: dict[tuple[str, str, int], Try] = {
        (dice.choice(names), dice.choice(["action", "compensation"]), dice.randrange(4)): dice.choice(
            comes_to
        )
        for _ in range(dice.randrange(13))
    }
    if dice.random() < 0.6:
        tries[max(dice.choice(names), dice.choice(names)), "action", dice.randrange(2)] = "refused"
        if dice.random() < 0.4:
            worst: Try = dice.choice(["refused", "crash after"]) if "crash after" in comes_to else "refused"
            unlucky = dice.choice(names)
            tries |= {(unlucky, "compensation", number): worst for number in range(6)}
    return Case(definition, tries)


def cases(*comes_to: Try) -> st.SearchStrategy[Case]:
    # Drawn by a seed and not part by part, because that spreads over all sizes and ends alike.
    return st.builds(random_case, seeds, st.just(comes_to))


seeds = st.integers(0, 2**32)
any_case = cases(
    "fails",
    "refused",
    "times out applied",
    "times out unapplied",
    "times out late",
    "crash before",
    "crash after",
    "stopped",
    "never begun",
)
crashless_case = cases("fails", "refused", "times out applied", "times out unapplied")


def noise(dice: Random) -> Callable[[World], None]:
    """After a commit, now and then: a webhook that joins, one seen before, an outcome told twice, a stale timer,
    an outcome of an attempt that was never made."""
    joiners = iter(range(1_000_000))
    nested = False

    def disturb(world: World) -> None:
        nonlocal nested
        if nested or dice.random() > 0.4:
            return
        nested = True
        saga = dice.choice(sorted(world.snapshots))
        match dice.randrange(5):
            case 0:
                world.apply(saga, start(f"{saga}-joiner-{next(joiners)}"))
            case 1:
                world.apply(saga, start(saga))
            case 2 if world.told:
                world.apply(*dice.choice(world.told))
            case 3:
                world.apply(saga, StepDue(1, dice.choice("abx"), dice.randrange(4)))
            case _:
                never_made = world.state(saga).sequence + 7
                world.apply(saga, AttemptSucceeded(1, dice.choice("abx"), "action", never_made, "stray", 1))
        nested = False

    return disturb


# -- the law ----------------------------------------------------------------------------------------------------


@given(any_case, st.integers(1, 3), seeds)
@settings(bounded, max_examples=500)
def test_every_run_obeys_the_invariants(case: Case, sagas: int, seed: int) -> None:
    world = case.world()
    world.after_commit = noise(Random(seed))
    for number in range(sagas):
        world.apply(f"saga-{number}", start(f"saga-{number}"))
    world.run()
    assert world.all_ended()
    assert check_log(world.logged(), case.plans) == []
    assert check_effects(world.logged(), world.participants.applied, case.plans) == []


@given(any_case, seeds)
@settings(bounded, max_examples=50)
def test_a_join_carries_the_correlation_of_its_own_webhook(case: Case, seed: int) -> None:
    world = case.world()
    world.after_commit = noise(Random(seed))
    world.apply("saga", start("saga"))
    world.run()
    for record in world.log:
        match record.event():
            case SagaJoined() as joined:
                assert record.correlation_id == joined.correlation_id == f"cor-{joined.event_id}"
            case _:
                assert record.correlation_id == "cor-saga"


@given(any_case, seeds)
@settings(bounded, max_examples=150)
def test_every_prefix_of_a_log_is_lawful(case: Case, seed: int) -> None:
    world = case.world()
    world.after_commit = noise(Random(seed))
    world.apply("saga", start("saga"))
    world.run()
    events = world.logged()
    for length in range(len(events)):
        assert check_log(events[:length], case.plans, at_rest=False) == []


@given(any_case, seeds)
@settings(bounded, max_examples=150)
def test_the_fold_of_every_prefix_is_the_state_that_the_engine_had(case: Case, seed: int) -> None:
    world = case.world()
    world.answers = {
        "a": {"x": [None, 1.5, -(2**63), "\x00 \u00e9 \U0001f600"]},
        "b": None,
        "c": [],
        "d": 2**63,
    }
    disturb = noise(Random(seed))

    def compare(world: World) -> None:
        for saga, state in world.folded().items():
            if state.status == "COMPLETED":  # remembered in short
                known = world.state(saga)
                assert (known.run, known.sequence, known.status) == (state.run, state.sequence, state.status)
            else:
                assert world.state(saga) == state
                assert SagaState.from_json(world.snapshots[saga]) == state
        disturb(world)

    world.after_commit = compare
    world.apply("saga", start("saga"))
    world.run()
    state = SagaState("saga")
    for record in world.log:
        state = evolve(state, record.event())
        assert (state.run, state.sequence) == (record.run, record.sequence)
        assert SagaState.from_json(state.to_json()) == state
        assert SagaState.from_json(state.to_json()).to_json() == state.to_json()


@given(any_case, seeds)
@settings(bounded, max_examples=150)
def test_what_a_final_saga_is_told_changes_nothing_but_its_count_of_joins(case: Case, seed: int) -> None:
    world = case.world()
    world.apply("saga", start("saga", context={"order_id": 7}))
    world.run()
    ended = world.state()
    if ended.status == "COMPLETED":
        assert (ended.context, ended.results) == ({}, {}), (
            "a completed saga is remembered for its identity alone"
        )
    if ended.status == "ROLLED_BACK":
        assert (ended.context, ended.results) == ({"order_id": 7}, {}), "an operator may run it again"
    dice = Random(seed)
    for saga, command in [
        *world.told,
        ("saga", StepDue(1, dice.choice("abx"), dice.randrange(5))),
        ("saga", Park("why")),
    ]:
        if ended.status in FINAL or not isinstance(command, Park):
            assert world.apply(saga, command) == []
    world.apply("saga", start("another"))
    assert world.state() == replace(ended, sequence=ended.sequence + 1)


# -- crashes ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ending:
    """What must not depend on where a process died."""

    status: str
    kept: tuple[str, ...]
    undone: tuple[str, ...]
    unresolved: tuple[str, ...]
    results: tuple[tuple[str, JsonValue], ...]


def ending(world: World, without: str | None = None) -> Ending:
    """without: a step whose undoing is left out, because only a crash made its outcome unknown."""
    state = world.state()
    return Ending(
        status=state.status,
        kept=tuple(world.participants.kept()),
        undone=tuple(step for step in world.undone() if step != without),
        unresolved=tuple(step for step in state.to_undo if step != without),
        results=tuple(
            (event.data["step"], event.data.get("result"))
            for event in world.logged()
            if event.kind == "step.completed" and event.data["phase"] == "action"
        ),
    )


APPLIED: dict[str, Try] = {"crash": "crash after", "orderly stop": "stopped"}
UNAPPLIED: dict[str, Try] = {"crash": "crash before", "orderly stop": "never begun"}


def run_that_dies(case: Case, commit: int, by: str) -> World:
    """The run whose process dies after that commit, at once or within the attempt that it began; commit 0: never.

    A try comes to what the case says for the failures before it, whatever died in between; but undoing what was
    never done succeeds, as every participant must see to.
    """
    world = case.world()

    def come_to(attempted: Attempted) -> Try:
        action = f"{attempted.saga_id}/1/{attempted.step}/action"
        comes_to = case.tries.get((attempted.step, attempted.phase, attempted.failures), "ok")
        if attempted.phase == "compensation" and action not in world.participants.applied:
            comes_to = "ok"
        if world.commits != commit or by == "crash at once":
            return comes_to
        return (APPLIED if comes_to in ("ok", "times out applied") else UNAPPLIED)[by]

    def die(world: World) -> None:
        if world.commits == commit and by == "crash at once":
            world.crash(from_log=commit % 2 == 0)

    world.script = come_to
    world.after_commit = die
    world.apply("saga", start("saga"))
    world.run()
    return world


@pytest.mark.parametrize("by", ["crash", "orderly stop", "crash at once"])
@given(case=crashless_case)
@settings(bounded, max_examples=100)
def test_a_process_that_dies_anywhere_changes_nothing_about_how_its_sagas_end(by: str, case: Case) -> None:
    """At every commit, which is at every event boundary there is: a transaction that was cut off left nothing."""
    undisturbed = run_that_dies(case, 0, by)
    expected = ending(undisturbed)
    for commit in range(1, undisturbed.commits + 1):
        world = run_that_dies(case, commit, by)
        failed = world.state().failed_step
        only_uncertain = failed if failed not in expected.undone + expected.unresolved else None
        assert ending(world, without=only_uncertain) == expected
        assert check_log(world.logged(), case.plans) == []
        assert check_effects(world.logged(), world.participants.applied, case.plans) == []


@given(any_case, seeds)
@settings(bounded, max_examples=150)
def test_a_retry_never_runs_before_it_is_due_nor_twice(case: Case, seed: int) -> None:
    world = case.world()
    world.after_commit = noise(Random(seed))
    world.apply("saga", start("saga"))
    for _ in range(200):
        world.now += timedelta(milliseconds=Random(seed).choice([1, 37, 350]))
        world.run(until=world.now)
    world.run()
    due: dict[tuple[str, str, int], Any] = {}
    for record in world.log:
        match record.event():
            case StepRetryScheduled() as retry:
                due[retry.step, retry.phase, retry.attempt] = retry.due_at
            case StepScheduled(attempt=attempt) as scheduled if attempt > 1:
                assert due.pop((scheduled.step, scheduled.phase, attempt)) <= record.time
    assert world.state().status == "SUSPENDED" or not due


# -- totality ---------------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b", "zzz", ""])
phases: st.SearchStrategy[Any] = st.sampled_from(["action", "compensation"])
attempts = st.integers(-1, 4)
moments = st.integers(-5, 5).map(lambda seconds: BEGINNING + timedelta(seconds=seconds))
texts = st.sampled_from(["", "why", "ShopError: no"])
json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
contexts = st.dictionaries(st.text(), json, max_size=3)
several = st.lists(names, max_size=3).map(tuple)

events: st.SearchStrategy[Contract] = st.one_of(
    st.builds(
        SagaStarted,
        name=names,
        version=st.integers(0, 2),
        definition_hash=texts,
        source=texts,
        event_id=texts,
        correlation_id=texts,
        context=contexts,
        total_steps=st.integers(0, 3),
    ),
    st.builds(SagaJoined, name=names, source=texts, event_id=texts, correlation_id=texts, state=texts),
    st.builds(
        StepScheduled, step=names, phase=phases, attempt=attempts, idempotency_key=texts, times_out_at=moments
    ),
    st.builds(StepCompleted, step=names, phase=phases, attempt=attempts, result=json),
    st.builds(
        StepFailed,
        step=names,
        phase=phases,
        attempt=attempts,
        error=texts,
        outcome=st.sampled_from(["failed", "unknown"]),
    ),
    st.builds(StepRetryScheduled, step=names, phase=phases, attempt=attempts, due_at=moments),
    st.builds(
        StepAttemptLost,
        step=names,
        phase=phases,
        attempt=attempts,
        reason=st.sampled_from(["crash", "stopped", "never_begun"]),
    ),
    st.builds(SagaCompensating, failed_step=names, error=texts, steps=several),
    st.builds(SagaCompleted, name=names),
    st.builds(SagaRolledBack, name=names, failed_step=names, error=texts),
    st.builds(SagaFailed, name=names, failed_step=names, error=texts, unresolved=several),
    st.builds(SagaSuspended, reason=texts),
    st.builds(OwnerAcquired, partition=st.just(0), epoch=st.just(1), instance=texts),
)
commands: st.SearchStrategy[Command] = st.one_of(
    texts.map(start),
    st.builds(
        AttemptSucceeded,
        run=st.integers(0, 2),
        step=names,
        phase=phases,
        attempt=attempts,
        result=json,
        duration_ms=st.integers(0, 9),
    ),
    st.builds(
        AttemptFailed,
        run=st.integers(0, 2),
        step=names,
        phase=phases,
        attempt=attempts,
        error=texts,
        retryable=st.booleans(),
        unknown=st.booleans(),
        duration_ms=st.integers(0, 9),
        dice=st.floats(0, 1, exclude_max=True),
    ),
    st.builds(
        AttemptLost,
        run=st.integers(0, 2),
        step=names,
        phase=phases,
        attempt=attempts,
        reason=st.sampled_from(["crash", "stopped", "never_begun"]),
    ),
    st.builds(StepDue, run=st.integers(0, 2), step=names, attempt=attempts),
    st.builds(Park, texts),
)


def states_on_the_way(case: Case) -> list[SagaState]:
    """Every state of the case's run, from before its start."""
    world = case.world()
    world.apply("saga", start("saga"))
    world.run()
    states = [SagaState("saga")]
    for record in world.log:
        states.append(evolve(states[-1], record.event()))
    return states


def fitted(event: Contract, state: SagaState) -> Contract:
    """The event, about the attempt that the saga waits for: what is about nothing teaches little."""
    current = next(iter(state.open.values()), None)
    if current is None:
        return event
    about = {"step": current.step, "phase": current.phase, "attempt": current.attempt}
    return event.model_copy(update={name: about[name] for name in about.keys() & event.model_fields_set})


def about_the_current_attempt(command: Command, state: SagaState) -> Command:
    run, current = state.run, next(iter(state.open.values()), None)
    if current is None:
        return command
    match command:
        case AttemptSucceeded() | AttemptFailed() | AttemptLost():
            return replace(command, run=run, attempt=current.attempt, step=current.step, phase=current.phase)
        case StepDue():
            return replace(command, run=run, step=current.step, attempt=current.attempt)
    return command


@given(any_case, st.lists(events, min_size=1, max_size=4))
@settings(bounded, max_examples=200)
def test_any_event_in_any_state_gives_a_state_that_can_be_kept(case: Case, drawn: list[Contract]) -> None:
    for state in states_on_the_way(case):
        before = state
        for event in (*drawn, *(fitted(event, state) for event in drawn)):
            after = evolve(before, event)
            again = isinstance(event, SagaStarted) and before.status in FINAL
            expected = (before.run + 1, 1) if again else (before.run, before.sequence + 1)
            assert (after.saga_id, after.run, after.sequence) == (before.saga_id, *expected)
            kept = SagaState.from_json(after.to_json())
            differing = [
                (each.name, getattr(kept, each.name), getattr(after, each.name))
                for each in fields(SagaState)
                if getattr(kept, each.name) != getattr(after, each.name)
            ]
            assert differing == []
            assert evolve(before, decode_data(event.ce_type, event.to_json())) == after
            if after.status == "SUSPENDED" and before.status != "SUSPENDED":
                assert after.reason is not None
                assert after.open == before.open
            before = after


@given(any_case, any_case, st.lists(events, max_size=3), st.lists(commands, min_size=1, max_size=4))
@settings(bounded, max_examples=200)
def test_any_command_in_any_state_under_any_definition_gives_events(
    case: Case, other: Case, pushes: list[Contract], drawn: list[Command]
) -> None:
    """Also where events that do not belong there pushed the saga off its course."""
    for on_the_way in states_on_the_way(case):
        pushed = evolve(on_the_way, fitted(pushes[0], on_the_way)) if pushes else on_the_way
        for state in (on_the_way, pushed, fold(on_the_way, tuple(pushes))):
            for command in (*drawn, *(about_the_current_attempt(command, state) for command in drawn)):
                for deployed in (case.definition, other.definition, None):
                    for event in decide(state, command, deployed, BEGINNING + timedelta(hours=1)):
                        assert decode_data(event.ce_type, event.to_json()) == event
