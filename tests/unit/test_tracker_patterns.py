"""How a run is told that waits, branches, has children, or is operated on."""

from functools import reduce
from typing import Any

import pytest

from sagahook_schemas.base import Contract
from sagahook_schemas.commands import ParentStep
from sagahook_schemas.definitions import Retry, StepDefinition
from sagahook_schemas.sagas import (
    CommandRefused,
    SagaAdmitted,
    SagaCancelled,
    SagaFailing,
    SagaLetGo,
    SagaMigrated,
    SagaProgressed,
    SagaReleased,
    SagaResumed,
    SagaSignalled,
    SagaSuspended,
    SlotRequested,
)
from sagahook_schemas.steps import (
    CompensationResolved,
    StepChildRequested,
    StepContinued,
    StepDeclared,
    StepExpanded,
    StepSkipped,
)
from sagahook_tracker.domain.changes import fold
from sagahook_tracker.domain.evolve import evolve
from sagahook_tracker.domain.runs import ACTS, Run, Step
from tests.tracker_log import T0, SagaLog, Written, controlled, of_a_limit


def told(log: SagaLog) -> Run:
    run = reduce(_evolve, log.written, None)
    assert run is not None
    return run


def _evolve(run: Run | None, record: Written) -> Run:
    assert record.data is not None
    return evolve(run, record.envelope, record.data, number=7)


def saga() -> SagaLog:
    return SagaLog("saga-1").started("event-1", "cid", order=42)


def statuses(log: SagaLog) -> dict[str, str]:
    return {step.name: step.status for step in told(log).steps}


def stuck() -> SagaLog:
    """FAILED, because the compensation of `reserve` failed for good."""
    log = saga().done("reserve").scheduled("charge").failed_attempt("charge", "Declined")
    log.compensating("charge", "Declined", "reserve").scheduled("reserve", phase="compensation")
    return log.failed_attempt("reserve", "Gone", phase="compensation").failed("charge", "Declined", "reserve")


def test_a_run_that_needs_a_slot_is_pending_until_it_is_admitted() -> None:
    log = SagaLog("saga-1").started_with(limit_key="limit/order")
    assert (told(log).state, told(log).limit_key) == ("PENDING", "limit/order")
    assert told(log.add(SagaAdmitted(limit_key="limit/order"))).state == "EXECUTING"


def test_a_run_that_is_held_is_pending_until_it_is_let_go() -> None:
    log = SagaLog("saga-1").started_with(held=3)
    assert told(log).state == "PENDING"
    let_go = told(log.add(SagaLetGo(actor="ada", reason="the bank is back")))
    assert let_go.state == "EXECUTING"
    assert [(act.what, act.actor, act.reason) for act in let_go.acts] == [
        ("let go", "ada", "the bank is back")
    ]


def test_a_run_that_is_let_go_waits_on_for_its_slot() -> None:
    log = SagaLog("saga-1").started_with(held=3, limit_key="limit/order").add(SagaLetGo(actor="ada"))
    assert told(log).state == "PENDING"
    assert told(log.add(SagaAdmitted(limit_key="limit/order"))).state == "EXECUTING"


@pytest.mark.parametrize(
    ("waits", "event"),
    [
        ({"held": 3}, SagaLetGo(actor="ada")),
        ({"limit_key": "limit/order"}, SagaAdmitted(limit_key="limit/order")),
    ],
)
def test_a_suspended_run_that_need_not_wait_any_more_executes_once_it_is_resumed(
    waits: dict[str, Any], event: Contract
) -> None:
    log = SagaLog("saga-1").started_with(**waits).add(SagaSuspended(reason="gone", cause="definition"))
    assert told(log.add(event)).state == "SUSPENDED"
    assert told(log.add(SagaResumed(actor="ada"))).state == "EXECUTING"


def test_a_pause_is_of_no_run() -> None:
    changes = fold(
        [
            controlled("definition", "order", True).event(1),
            controlled("definition", "order", False).event(2),
        ],
        {},
    )
    assert changes.runs == {}
    assert [(each.number, each.control.paused) for each in changes.controls.values()] == [(2, False)]


def test_a_run_knows_its_attributes_its_deadline_and_its_parent() -> None:
    parent = ParentStep(saga_id="parent", run=2, step="ship")
    run = told(SagaLog("saga-1").started_with(attributes={"repo": "a/b"}, deadline_at=T0, parent=parent))
    assert (run.attributes, run.deadline_at, run.parent) == ({"repo": "a/b"}, T0, parent)


def test_several_steps_are_open_at_once() -> None:
    log = saga().scheduled("pack").scheduled("charge").scheduled("invoice").outcome("charge")
    assert statuses(log) == {"pack": "running", "charge": "completed", "invoice": "running"}


def test_preparing_a_step_is_no_attempt_of_its_action() -> None:
    log = saga().scheduled("charge", phase="prepare")
    assert told(log).steps == (Step("charge", "preparing"),)
    log.outcome("charge", phase="prepare")
    assert (told(log).steps, told(log).completed_steps) == ((Step("charge", "preparing"),), ())
    assert told(log.scheduled("charge")).steps == (Step("charge", "running", attempts=1),)


def test_a_step_that_is_not_wanted_is_skipped_and_counts_as_done() -> None:
    log = saga().done("reserve").add(StepSkipped(step="charge", reason="free of charge"))
    assert statuses(log) == {"reserve": "completed", "charge": "skipped"}
    assert (told(log).completed_steps, told(log).progress) == (("reserve",), 2 / 3)


def test_a_step_waits_for_a_time_a_signal_or_another_turn() -> None:
    again = StepContinued(step="poll", phase="action", attempt=1, due_at=T0)
    log = saga().sleeping("pause").awaiting("approve", "approval").scheduled("poll").add(again)
    due = "2026-01-01T00:00:00.000Z"
    assert told(log).steps == (
        Step("pause", "waiting", due_at=due),
        Step("approve", "waiting", signal="approval"),
        Step("poll", "waiting", attempts=1, due_at=due),
    )
    assert told(log.outcome("approve")).steps[1] == Step("approve", "completed")


def test_items_are_steps_that_do_not_count() -> None:
    log = saga().add(StepExpanded(step="charge", items=(1, 2))).done("charge[0]").scheduled("charge[1]")
    assert statuses(log) == {"charge": "running", "charge[0]": "completed", "charge[1]": "running"}
    assert (told(log).completed_steps, told(log).progress) == ((), 0)
    log.outcome("charge[1]").outcome("charge")
    assert told(log).completed_steps == ("charge",)


def test_a_step_that_runs_a_saga_says_which() -> None:
    child = StepChildRequested(step="ship", child_id="child", name="shipping", version=1, context={})
    assert told(saga().add(child)).steps == (Step("ship", "running", child_id="child"),)


def test_a_function_has_as_many_steps_as_it_asked_for() -> None:
    step = StepDefinition(name="one", timeout=1, retry=Retry())
    log = SagaLog("saga-1").started_with(total_steps=0).add(StepDeclared(number=1, definition=step))
    assert told(log.add(StepDeclared(number=2, definition=step))).total_steps == 2


def test_when_a_branch_fails_the_others_settle_and_what_waits_is_called_off() -> None:
    log = saga().scheduled("pack").sleeping("pause").scheduled("charge").failed_attempt("charge", "Declined")
    log.add(SagaFailing(failed_step="charge", error="Declined"))
    assert (told(log).state, told(log).failed_step) == ("EXECUTING", "charge")
    assert statuses(log) == {"pack": "running", "pause": "cancelled", "charge": "failed"}
    log.outcome("pack").compensating("charge", "Declined", "pack")
    assert statuses(log) == {"pack": "completed", "pause": "cancelled", "charge": "failed"}


def test_a_cancelled_run_says_who_called_it_off() -> None:
    log = (
        saga()
        .awaiting("approve", "approval")
        .add(SagaCancelled(actor="ada", reason="typo", command_id="c-1"))
    )
    log.compensating("", "cancelled by ada").rolled_back("", "cancelled by ada")
    run = told(log)
    assert (run.state, run.failed_step, run.error) == ("ROLLED_BACK", None, "cancelled by ada")
    assert statuses(log) == {"approve": "cancelled"}
    [act] = run.acts
    assert (act.what, act.actor, act.reason, act.command_id) == ("cancel", "ada", "typo", "c-1")


def test_a_resumed_run_goes_back_to_what_it_was() -> None:
    for log, state in (
        (saga().scheduled("charge"), "EXECUTING"),
        (saga().done("reserve").compensating("charge", "Declined", "reserve"), "COMPENSATING"),
        (SagaLog("saga-1").started_with(limit_key="limit/order"), "PENDING"),
    ):
        log.add(SagaSuspended(reason="nothing that is deployed carries it on", cause="definition"))
        log.add(SagaSuspended(reason="still nothing", cause="definition"))
        assert (told(log).state, told(log).cause, told(log).suspended_in) == (
            "SUSPENDED",
            "definition",
            state,
        )
        run = told(log.add(SagaResumed(actor="ada")))
        assert (run.state, run.reason, run.cause, run.suspended_in) == (state, None, None, None)


def test_an_operators_acts_are_kept_with_what_was_refused() -> None:
    log = saga().add(SagaSignalled(signal="approval", signal_id="1", actor="ada", reason="seen"))
    log.add(SagaMigrated(version=4, definition_hash="h4", actor="bob"))
    log.add(CommandRefused(command="sagahook.command.cancel.v1", actor="ada", reason="", why="it is final"))
    run = told(log)
    assert (run.version, run.definition_hash) == (4, "h4")
    assert [(act.what, act.actor, act.why) for act in run.acts] == [
        ("signal approval", "ada", None),
        ("migrate to version 4", "bob", None),
        ("cancel", "ada", "it is final"),
    ]


def test_only_the_last_acts_are_kept() -> None:
    log = saga()
    for number in range(ACTS + 5):
        log.add(SagaSignalled(signal=f"s{number}", signal_id=str(number), actor="ada"))
    assert [act.what for act in told(log).acts] == [f"signal s{number}" for number in range(5, ACTS + 5)]


def test_progress_is_what_an_action_said() -> None:
    log = saga().done("reserve").add(SagaProgressed(progress=0.9, message="nearly"))
    assert (told(log).progress, told(log).message) == (0.9, "nearly")
    assert told(log.completed()).progress == 1


def test_a_finished_child_may_be_undone_and_is_finished_again() -> None:
    log = saga().done("reserve").completed().compensating("", "its parent is undone", "reserve")
    assert (told(log).state, told(log).finished_at) == ("COMPENSATING", None)
    log.done("reserve", phase="compensation").rolled_back("", "its parent is undone").add(SagaReleased())
    assert (told(log).state, told(log).finished_at) == ("ROLLED_BACK", T0.replace(second=8))


def test_a_compensation_is_tried_again() -> None:
    log = stuck()
    assert (told(log).unresolved, statuses(log)["reserve"]) == (("reserve",), "compensation_failed")
    log.add(CompensationResolved(step="reserve", how="retry", actor="ada"))
    assert (told(log).state, told(log).finished_at) == ("COMPENSATING", None)
    log.scheduled("reserve", 2, phase="compensation").outcome("reserve", phase="compensation")
    run = told(log.rolled_back("charge", "Declined"))
    assert (run.state, run.unresolved, run.steps[0].status) == ("ROLLED_BACK", (), "compensated")


def test_what_was_undone_by_hand_is_resolved_and_what_is_skipped_is_left_behind() -> None:
    log = stuck().add(CompensationResolved(step="reserve", how="skip", actor="ada"))
    assert (told(log).state, told(log).unresolved) == ("FAILED", ("reserve",))
    log.add(CompensationResolved(step="reserve", how="resolve", actor="ada"))
    assert (told(log).unresolved, statuses(log)["reserve"]) == ((), "compensated")


def test_a_further_run_says_who_asked_for_it() -> None:
    run = told(SagaLog("saga-1", run=2).started_with(actor="ada", reason="the bank is back"))
    assert [(act.what, act.actor, act.reason) for act in run.acts] == [("retry", "ada", "the bank is back")]


def test_no_webhook_is_linked_with_a_child() -> None:
    parent = ParentStep(saga_id="parent", run=1, step="ship")
    log = SagaLog("child").started_with(parent=parent).completed()
    changes = fold([record.event(number) for number, record in enumerate(log.written)], {})
    assert (changes.links, changes.waited_for) == ({}, {"cid"})


def test_a_run_that_ends_and_goes_on_in_one_batch_has_not_ended() -> None:
    log = saga().completed().compensating("", "its parent is undone")
    assert fold([record.event(number) for number, record in enumerate(log.written)], {}).ended == set()


def test_what_a_limits_owner_writes_is_passed_over() -> None:
    record = of_a_limit(SlotRequested(saga_id="saga-1", run=1, name="order", ticket=1))
    assert fold([record.event(1)], {}).runs == {}
