"""What a pause holds, and how it is let go when the pause ends."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sagahook_runner.domain.commands import Admit, DeadlineDue, LetGo, Park, Start, Unpark
from sagahook_runner.domain.controls import Controls, Held
from sagahook_runner.domain.decide import decide
from sagahook_runner.domain.evolve import evolve
from sagahook_runner.domain.state import SagaState
from sagahook_schemas.commands import CancelSaga, ParentStep, ReleaseSlot, RequestSlot, RetrySaga, SignalSaga
from sagahook_schemas.definitions import ControlSet, RateLimit, SagaDefinition, TriggerDefinition
from sagahook_schemas.sagas import SagaAdmitted, SagaLetGo
from tests.oracle import check_log
from tests.saga_world import BEGINNING, World, definition, plans, start

ORDER = definition("reserve", "charge")
LIMITED = ORDER.model_copy(
    update={
        "triggers": (
            TriggerDefinition(source="shop", max_concurrent=1, rate_limit=RateLimit(count=9, per=1)),
        )
    }
)
LIMIT = "limit/order"
BY = {"actor": "ada", "reason": "the bank is back"}


def held(place: int = 1, event_id: str = "evt-1", **asked: Any) -> Start:
    return replace(start(event_id, **asked), held=place)


def holding(deployed: SagaDefinition = ORDER, **asked: Any) -> World:
    """A world whose one saga has just been asked for, and held."""
    world = World([deployed])
    world.apply("saga", held(**asked))
    world.run()
    return world


def kinds(world: World) -> list[str]:
    return [event.kind for event in world.logged()]


def control(kind: Any, name: str, paused: bool, actor: str = "ada", minutes: int = 0) -> ControlSet:
    at = BEGINNING + timedelta(minutes=minutes)
    return ControlSet(kind=kind, name=name, paused=paused, actor=actor, reason="why", at=at)


# --- the engine


def test_a_held_saga_is_pending_and_does_nothing() -> None:
    world = holding()

    assert kinds(world) == ["saga.started"]
    assert world.logged()[0].data["held"] == 1
    assert (world.state().status, world.state().held) == ("PENDING", 1)


def test_let_go_it_runs_as_if_it_had_started_then() -> None:
    world = holding()

    world.apply("saga", LetGo(**BY))
    world.run()

    assert kinds(world) == [
        "saga.started",
        "saga.let_go",
        *["step.scheduled", "step.completed"] * 2,
        "saga.completed",
    ]
    assert world.logged()[1].data == BY
    assert check_log(world.logged(), plans([ORDER])) == []


def test_it_is_let_go_once() -> None:
    world = holding()
    world.apply("saga", LetGo(**BY))

    assert world.apply("saga", LetGo(**BY)) == []
    assert world.apply("another", LetGo(**BY)) == []


def test_with_a_limit_it_asks_for_its_slot_only_when_it_is_let_go() -> None:
    world = holding(LIMITED, limit_key=LIMIT)
    assert world.sent == []

    world.apply("saga", LetGo(**BY))
    assert world.state().status == "PENDING"
    assert [sent.command for sent in world.sent] == [RequestSlot(saga_id="saga", run=1, name="order")]
    world.run()

    assert world.state().status == "COMPLETED"
    assert kinds(world)[:3] == ["saga.started", "saga.let_go", "saga.admitted"]
    assert not world.shard.limits[LIMIT].holding


def test_no_slot_admits_what_is_held() -> None:
    state = holding(LIMITED, limit_key=LIMIT).state()

    assert decide(state, Admit(1, LIMIT), LIMITED, BEGINNING) == ()
    assert evolve(state, SagaAdmitted(limit_key=LIMIT)).cause == "engine"


def test_what_is_not_held_cannot_be_let_go() -> None:
    state = replace(holding().state(), held=None)

    assert evolve(state, SagaLetGo(actor="ada")).cause == "engine"


def test_a_child_is_never_held() -> None:
    asked = held()
    parent = ParentStep(saga_id="parent", run=1, step="deliver")
    child = replace(asked, request=asked.request.model_copy(update={"parent": parent}))
    world = World([ORDER])

    world.apply("saga", child)

    assert world.state().status == "EXECUTING"


def test_a_further_webhook_joins_it() -> None:
    world = holding()

    world.apply("saga", held(2, "evt-2"))

    assert kinds(world) == ["saga.started", "saga.joined"]
    assert world.state().held == 1


def test_a_webhook_that_comes_twice_is_answered_once() -> None:
    world = holding()

    assert world.apply("saga", held(2)) == []


@pytest.mark.parametrize("limit_key", [None, LIMIT])
def test_cancelled_it_ends_and_is_not_let_go_any_more(limit_key: str | None) -> None:
    world = holding(LIMITED, limit_key=limit_key)

    world.operate(CancelSaga(actor="ada"))
    world.run()

    assert kinds(world) == ["saga.started", "saga.cancelled", "saga.compensating", "saga.rolled_back"]
    assert world.state().held is None
    assert world.apply("saga", LetGo(**BY)) == []
    assert [sent.command for sent in world.sent if not isinstance(sent.command, ReleaseSlot)] == []
    assert check_log(world.logged(), plans([LIMITED])) == []


def test_its_deadline_counts_from_its_start() -> None:
    world = World([ORDER.model_copy(update={"deadline": 60.0})])
    world.apply("saga", held())

    world.run(BEGINNING + timedelta(seconds=59))
    assert world.state().status == "PENDING"
    world.run(BEGINNING + timedelta(seconds=61))

    assert world.state().status == "ROLLED_BACK"
    assert world.apply("saga", DeadlineDue(1)) == []


def test_a_signal_that_comes_meanwhile_is_kept_for_its_step() -> None:
    world = holding()

    world.operate(SignalSaga(actor="ada", signal="approved", signal_id="1"))

    assert [each.name for each in world.state().signals] == ["approved"]
    assert world.state().status == "PENDING"


@pytest.mark.parametrize("from_log", [True, False])
def test_a_crash_leaves_it_held_and_the_next_owner_lets_it_go(from_log: bool) -> None:
    world = World([ORDER])
    for number in (2, 1, 3):
        world.apply(f"saga {number}", held(number, f"evt-{number}"))
    world.apply("saga 1", held(9, "evt-9"))

    world.crash(from_log=from_log)
    world.run()

    assert world.shard.held.in_order() == ["saga 1", "saga 2", "saga 3"]
    assert world.shard.held.next_place == 4
    world.apply("saga 2", LetGo(**BY))
    world.run()
    assert world.state("saga 2").status == "COMPLETED"
    assert world.shard.held.in_order() == ["saga 1", "saga 3"]


def resume(world: World) -> None:
    """As an owner does; a third saga starts just after it."""
    for saga_id in world.shard.held.in_order():
        world.apply(saga_id, LetGo(**BY))
    world.apply("saga 3", start("evt-3", limit_key=LIMIT))


@pytest.mark.parametrize("from_log", [True, False])
@pytest.mark.parametrize("crash_at", range(1, 31))
def test_a_crash_after_any_transaction_changes_nothing_of_how_the_held_end(
    crash_at: int, from_log: bool
) -> None:
    """Two are held and one starts after them; they have one slot."""
    world = World([LIMITED])

    def crash(world: World) -> None:
        if world.commits == crash_at and not world.crashes:
            world.crash(from_log=from_log)

    world.after_commit = crash
    for number in (1, 2):
        world.apply(f"saga {number}", held(number, f"evt-{number}", limit_key=LIMIT))
    world.plan(5.0, resume)
    world.run()

    assert [world.state(f"saga {number}").status for number in (1, 2, 3)] == ["COMPLETED"] * 3
    assert [event.saga_id for event in world.logged() if event.kind == "saga.let_go"] == ["saga 1", "saga 2"]
    assert check_log(world.logged(), plans([LIMITED])) == []
    assert not world.shard.limits[LIMIT].holding
    assert len(world.participants.applied) == len(set(world.participants.applied)) == 6


def test_let_go_while_it_is_suspended_it_runs_once_it_is_resumed() -> None:
    world = holding()
    world.apply("saga", Park("its definition is gone"))

    world.apply("saga", LetGo(**BY))
    assert (world.state().status, world.state().resumes) == ("SUSPENDED", "EXECUTING")
    world.apply("saga", Unpark("it is there"))
    world.run()

    assert world.state().status == "COMPLETED"
    assert check_log(world.logged(), plans([ORDER])) == []


def test_resumed_while_it_is_held_it_goes_on_waiting() -> None:
    world = holding()
    world.apply("saga", Park("its definition is gone"))

    world.operate(RetrySaga(actor="ada"))
    world.run()

    assert (world.state().status, world.state().held) == ("PENDING", 1)


def test_its_snapshot_keeps_its_place() -> None:
    state = holding().state()

    assert SagaState.from_json(state.to_json()) == state


# --- the view of the pauses


def test_a_saga_waits_while_its_definition_or_its_source_is_paused() -> None:
    controls = Controls()
    assert not controls.holds("order", "shop")

    controls.set(control("definition", "order", True))
    assert controls.holds("order", "shop")
    assert not controls.holds("refund", "shop")

    controls.set(control("definition", "order", False))
    controls.set(control("source", "shop", True))
    assert controls.holds("order", "shop")
    assert not controls.holds("order", "till")


def test_a_tombstone_ends_a_pause() -> None:
    controls = Controls()
    controls.set(control("definition", "order", True))

    controls.forget("control/definition/order")

    assert not controls.holds("order", "shop")
    assert controls.ended_by("order", "shop") == LetGo("sagahook", "")


def test_a_saga_is_let_go_in_the_words_of_who_acted_last() -> None:
    controls = Controls()
    controls.set(control("source", "shop", False, actor="bo", minutes=2))
    controls.set(control("definition", "order", False, actor="ada", minutes=1))

    assert controls.ended_by("order", "shop") == LetGo("bo", "why")


def test_whoever_watches_hears_of_each_change() -> None:
    controls, heard = Controls(), []
    watcher = lambda: heard.append(controls.version)  # noqa: E731
    controls.watch(watcher)
    controls.set(control("source", "shop", True))
    controls.forget("control/source/shop")
    controls.unwatch(watcher)
    controls.set(control("source", "shop", True))

    assert heard == [1, 2]


def test_places_are_not_given_twice_while_they_are_remembered() -> None:
    line = Held()
    line.keep(SagaState("a", held=7))
    line.keep(SagaState("a"))

    assert line.in_order() == []
    assert line.next_place == 8
