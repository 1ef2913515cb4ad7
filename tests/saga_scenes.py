"""Scenes of sagas that are graphs, for the golden transcripts: each is a world that has run to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sagahook_schemas.base import JsonValue
from sagahook_schemas.commands import CancelSaga, ResolveCompensation, RetrySaga, SignalSaga
from sagahook_schemas.definitions import Retry, SagaDefinition, StepDefinition, TriggerDefinition
from sagahook_schemas.identity import child_id, limit_key
from tests.saga_parts import Attempted, Script, Try, start, step
from tests.saga_world import World

Scene = Callable[[], World]

ONCE = Retry(max=0)
LIMIT = limit_key("order", None)


def script(**tries: list[Try]) -> Script:
    """`charge=["fails", "ok"]` for the attempts of an action in turn, `undo_charge` for its compensation; an attempt
    beyond them, and any other step, is ok. An item `charge[1]` is `charge_1`."""

    def come_to(attempted: Attempted) -> Try:
        name = attempted.step.replace("[", "_").rstrip("]")
        planned = tries.get(name if attempted.phase == "action" else f"undo_{name}", [])
        if attempted.phase == "prepare":
            planned = []
        return planned[attempted.attempt - 1] if attempted.attempt <= len(planned) else "ok"

    return come_to


def saga(*steps: StepDefinition, name: str = "order", **said: object) -> SagaDefinition:
    return SagaDefinition.model_validate({"name": name, "version": 1, "triggers": (), "steps": steps, **said})


def played(definition: SagaDefinition, come_to: Script, *others: SagaDefinition, **says: JsonValue) -> World:
    """Started and run to its end. says: by step what its preparation says."""
    world = begun(definition, come_to, *others, **says)
    world.run()
    return world


def begun(definition: SagaDefinition, come_to: Script, *others: SagaDefinition, **says: JsonValue) -> World:
    world = World([definition, *others], come_to)
    world.says = says
    world.apply("saga", start("evt-1", name=definition.name))
    return world


def diamond(**said: Any) -> SagaDefinition:
    return saga(
        step("reserve", retry=ONCE),
        step("charge", after=("reserve",), retry=ONCE),
        step("pack", after=("reserve",), retry=ONCE),
        step("ship", after=("charge", "pack"), retry=ONCE),
        **said,
    )


def diamond_of_steps() -> World:
    """Two branches run at once; what comes after both begins when both are done."""
    return played(diamond(), script())


def skipped_step() -> World:
    """What a step's own condition does not want is skipped, and what comes after it goes on. The condition is asked
    once, and its answer is in the log."""
    definition = saga(step("reserve"), step("gift", prepares=True), step("ship"))
    return played(definition, script(), gift={"skip": "no gift was ordered"})


def branch_fails_with_another_in_flight() -> World:
    """The attempt that is under way is waited for, and what it did is undone with the rest; nothing more begins."""
    definition = saga(
        step("reserve"),
        step("charge", after=("reserve",), retry=ONCE, timeout=1.0),
        step("pack", after=("reserve",), retry=ONCE),
        step("ship", after=("pack",)),
    )
    return played(definition, script(pack=["refused"], charge=["times out applied"]))


def parallel_compensation() -> World:
    """Compensations of one level run at once, the next level when all of them are done."""
    return played(diamond(compensation="parallel"), script(ship=["refused"], undo_pack=["fails"]))


def past_the_pivot_it_goes_forward() -> World:
    """Past a pivot nothing is undone: the saga is suspended until an operator retries it."""
    definition = saga(step("reserve"), step("charge", pivot=True), step("ship", retry=ONCE))
    world = played(definition, script(ship=["refused"]))
    world.operate(CancelSaga(actor="ann", reason="too late"))
    world.operate(RetrySaga(actor="ann", reason="the carrier is back"))
    world.run()
    return world


def sleeping_step() -> World:
    """A sleep ends when it is due, whatever died meanwhile; its length may be told by the preparation."""
    definition = saga(
        step("charge"), step("cool_off", undoable=False, does="sleep", prepares=True), step("ship")
    )
    world = begun(definition, script(), cool_off={"value": 3600})
    world.plan(60, World.crash)
    world.run()
    return world


def approval(on_timeout: str) -> SagaDefinition:
    wait = {"does": "signal", "signal": "approved", "patience": 60.0, "on_timeout": on_timeout}
    waiting = StepDefinition.model_validate({"name": "approval", "timeout": 30.0, "retry": ONCE, **wait})
    return saga(step("reserve"), waiting, step("ship"))


def signal_in_time() -> World:
    """The signal's payload is the step's result. The same signal again is nothing new, and one that comes when
    the saga has ended is refused."""
    world = begun(approval("fail"), script())
    told = SignalSaga(actor="ann", reason="fine", signal="approved", signal_id="sig-1", payload={"by": "ann"})
    world.plan(10, lambda world: world.operate(told))
    world.plan(11, lambda world: world.operate(told))
    world.plan(12, lambda world: world.operate(told.model_copy(update={"signal_id": "sig-2"})))
    world.run()
    return world


def signal_before_it_is_awaited() -> World:
    """A signal that comes early is kept until a step waits for it."""
    world = begun(approval("fail"), script())
    world.operate(SignalSaga(actor="ann", signal="approved", signal_id="sig-1", payload="early"))
    world.run()
    return world


def signal_that_does_not_come_fails_the_step() -> World:
    """Where the step says so, the time-out undoes the saga."""
    return played(approval("fail"), script())


def signal_that_does_not_come_lets_it_go_on() -> World:
    """Where the step says so, the saga goes on without it."""
    return played(approval("continue"), script())


def items_two_at_a_time() -> World:
    """Each item is a step of its own with a key of its own; two of them run at once, and one that is refused ends the
    step: those in flight are waited for, and what was done is undone."""
    definition = saga(step("charge", does="each", prepares=True, concurrency=2, retry=ONCE))
    return played(definition, script(charge_1=["refused"]), charge={"value": ["a", "b", "c"]})


def items_gathered() -> World:
    """The step's result is the list of its items' results."""
    definition = saga(step("charge", does="each", prepares=True, concurrency=2))
    return played(definition, script(charge_0=["fails", "ok"]), charge={"value": ["a", "b", "c"]})


def family(*more: StepDefinition, **said: Any) -> tuple[SagaDefinition, SagaDefinition]:
    child = step("delivery", undoable=False, does="child", child="delivery", prepares=True)
    parent = saga(step("reserve"), child, *more, **said)
    return parent, saga(step("book"), step("drive", retry=ONCE), name="delivery")


DELIVERY: JsonValue = {"value": {"name": "delivery", "version": 1, "context": {"order_id": 7}}}


def child_completes() -> World:
    """The result of the child's last step is that of the parent's step. The child is let go when its parent is done."""
    parent, child = family(step("thank"))
    return played(parent, script(), child, delivery=DELIVERY)


def child_fails() -> World:
    """The child undoes itself, and its parent what was done before it."""
    parent, child = family()
    return played(parent, script(drive=["refused"]), child, delivery=DELIVERY)


def parent_is_undone_after_its_child_completed() -> World:
    """To undo the step that ran a child, the child is undone, though it was completed."""
    parent, child = family(step("thank", retry=ONCE))
    return played(parent, script(thank=["refused"]), child, delivery=DELIVERY)


def child_is_run_again_past_the_pivot() -> World:
    """An operator who retries the parent has the child run anew, with other keys."""
    steps = family()[0].steps
    parent = saga(step("reserve", pivot=True), steps[1])
    world = World([parent, family()[1]])
    world.script = lambda attempted: "refused" if (attempted.step, attempted.run) == ("drive", 1) else "ok"
    world.says = {"delivery": DELIVERY}
    world.apply("saga", start("evt-1"))
    world.run()
    world.operate(RetrySaga(actor="ann", reason="there is a driver again"))
    world.run()
    return world


def cancelled() -> World:
    """What is under way is waited for, then everything is undone. A second cancel is refused."""
    world = begun(diamond(), script())
    world.plan(0.15, lambda world: world.operate(CancelSaga(actor="ann", reason="changed my mind")))
    world.plan(0.16, lambda world: world.operate(CancelSaga(actor="ann")))
    world.run()
    return world


def deadline_passes() -> World:
    """A run that takes longer than it may is undone."""
    definition = saga(step("charge"), step("ship", retry=Retry(max=9, initial=20, jitter=0)), deadline=30.0)
    return played(definition, script(ship=["fails"] * 9))


def retried_as_a_new_run() -> World:
    """A retry of what was rolled back is another run: its sequence begins at 1, and its effects have keys of their own,
    so that they are really applied again."""
    world = begun(
        diamond(), lambda attempted: "refused" if (attempted.step, attempted.run) == ("ship", 1) else "ok"
    )
    world.run()
    world.operate(RetrySaga(actor="ann", reason="the carrier is back"))
    world.run()
    return world


def compensations_resolved() -> World:
    """An operator has one compensation made again, and leaves behind what still cannot be undone: the saga stays
    failed, and says what is left."""
    definition = saga(step("reserve"), step("charge", undo=ONCE), step("ship", retry=ONCE))
    world = played(definition, script(ship=["refused"], undo_charge=["refused", "refused"]))
    for how in ("retry", "skip"):
        world.operate(ResolveCompensation.model_validate({"actor": "ann", "step": "charge", "how": how}))
        world.run()
    return world


def compensation_resolved_by_hand() -> World:
    """What an operator undid by hand is undone, and the rest goes on by itself."""
    definition = saga(step("reserve"), step("charge", undo=ONCE), step("ship", retry=ONCE))
    world = played(definition, script(ship=["refused"], undo_charge=["refused"]))
    world.participants.undo("saga/1/charge/compensation", "saga/1/charge/action")
    world.operate(ResolveCompensation(actor="ann", reason="paid back by hand", step="charge", how="resolve"))
    world.run()
    return world


def limit_of_one_with_two_sagas() -> World:
    """The second one waits until the first one has given its slot back."""
    trigger = TriggerDefinition(source="shop", max_concurrent=1)
    world = World([saga(step("charge"), triggers=(trigger,))], script())
    world.apply("saga", start("evt-1", limit_key=LIMIT))
    world.apply("saga-2", start("evt-2", limit_key=LIMIT))
    world.run()
    return world


def called_again_later() -> World:
    """An action that is not done yet asks to be called again, and finds what it carried over."""
    return played(saga(step("poll"), step("ship")), script(poll=["continues", "continues", "ok"]))


def poison_then_resumed() -> World:
    """Three crashes in one step suspend the saga. When an operator resumes it the count begins again."""
    world = played(
        saga(step("poll"), step("ship")),
        script(poll=["crash before", "crash before", "crash before", "crash after"]),
    )
    world.operate(RetrySaga(actor="ann", reason="the memory leak is mended"))
    world.run()
    return world


def names(world: World) -> dict[str, str]:
    """What to call children by: their ids, which are derived, say nothing to a reader."""
    return {
        child_id(record.saga_id, record.run, "delivery"): "child"
        for record in world.log
        if record.saga_id == "saga"
    }


SCENES: list[Scene] = [
    diamond_of_steps,
    skipped_step,
    branch_fails_with_another_in_flight,
    parallel_compensation,
    past_the_pivot_it_goes_forward,
    sleeping_step,
    signal_in_time,
    signal_before_it_is_awaited,
    signal_that_does_not_come_fails_the_step,
    signal_that_does_not_come_lets_it_go_on,
    items_two_at_a_time,
    items_gathered,
    child_completes,
    child_fails,
    parent_is_undone_after_its_child_completed,
    child_is_run_again_past_the_pivot,
    cancelled,
    deadline_passes,
    retried_as_a_new_run,
    compensations_resolved,
    compensation_resolved_by_hand,
    limit_of_one_with_two_sagas,
    called_again_later,
    poison_then_resumed,
]
