"""A run goes on under whatever is deployed for its version, if its history fits; else it waits for an operator."""

from datetime import timedelta

import pytest

from sagahook_runner.domain.commands import AttemptFailed, AttemptSucceeded, Command, StepDue
from sagahook_runner.domain.shard import Shard
from sagahook_runner.domain.state import SagaState
from sagahook_schemas.definitions import SagaDefinition
from tests.saga_world import BEGINNING, Try, World, definition, shard_of, start

ORDER = definition("reserve", "charge", "ship")


def at_the_second_step() -> SagaState:
    """`reserve` is done and `charge` runs."""
    return after(milliseconds=150).state()


def after(milliseconds: int, charge: Try = "ok") -> World:
    """An order so long after its start: each attempt takes 100 ms."""
    world = World([ORDER], lambda attempted: charge if attempted.step == "charge" else "ok")
    world.apply("saga", start("evt-1"))
    world.run(until=BEGINNING + timedelta(milliseconds=milliseconds))
    return world


def owner_with(state: SagaState, *deployed: SagaDefinition) -> Shard:
    shard = shard_of(deployed)
    shard.restore(state)
    return shard


@pytest.mark.parametrize(
    "deployed",
    [
        ORDER,
        definition("reserve", "charge", "ship", timeout=5),
        definition("reserve", "charge", "ship", "thank"),
        definition("reserve", "charge"),
        definition("reserve", "charge", "pack", "ship"),
    ],
)
def test_a_run_goes_on_where_its_history_is_how_the_deployed_definition_begins(
    deployed: SagaDefinition,
) -> None:
    assert list(owner_with(at_the_second_step(), deployed).unfit()) == []


@pytest.mark.parametrize(
    "deployed",
    [
        definition("charge", "reserve", "ship"),
        definition("check", "reserve", "charge"),
        definition("reserve", "ship"),
        definition("reserve"),
        definition(),
    ],
)
def test_a_run_whose_history_does_not_fit_is_unfit_and_says_why(deployed: SagaDefinition) -> None:
    ((state, reason),) = owner_with(at_the_second_step(), deployed).unfit()
    assert state.saga_id == "saga"
    assert "the history of this run does not fit the deployed definition of order version 1" in reason


def test_a_run_whose_version_is_not_deployed_is_unfit() -> None:
    ((_, reason),) = owner_with(at_the_second_step(), definition("reserve", name="other")).unfit()
    assert reason == "version 1 of order is not deployed: deploy it"


def test_a_run_that_undoes_needs_the_compensations_that_it_has_yet_to_make() -> None:
    world = after(milliseconds=250, charge="refused")
    assert world.state().status == "COMPENSATING"
    assert list(owner_with(world.state(), definition("reserve", "charge")).unfit()) == []
    assert list(owner_with(world.state(), definition("reserve!", "charge")).unfit())


def test_a_final_or_suspended_saga_is_never_unfit() -> None:
    world = World([ORDER])
    world.apply("done", start("evt-1"))
    world.apply("undeployed", start("evt-2", version=9))
    world.run()
    for saga in ("done", "undeployed"):
        assert list(owner_with(world.state(saga)).unfit()) == []


SUCCESS = AttemptSucceeded(1, "charge", "action", 1, {"paid": 7}, 10)
FAILURE = AttemptFailed(1, "charge", "action", 1, "ShopError: no", True, False, 10, 0.5)


@pytest.mark.parametrize("deployed", [(), (definition("reserve", "ship"),), (definition(),)])
@pytest.mark.parametrize("outcome", [SUCCESS, FAILURE])
def test_an_outcome_is_kept_although_nothing_deployed_can_carry_on_from_it(
    outcome: Command, deployed: tuple[SagaDefinition, ...]
) -> None:
    shard = owner_with(at_the_second_step(), *deployed)
    kinds = [entry.event.ce_type for entry in shard.apply("saga", outcome, BEGINNING).entries]
    told = "sagahook.step.completed.v1" if outcome is SUCCESS else "sagahook.step.failed.v1"
    assert kinds == [told, "sagahook.saga.suspended.v1"]
    charged = {"charge": {"paid": 7}} if outcome is SUCCESS else {}
    assert shard.state("saga").results == {"reserve": {"did": "reserve"}} | charged


def test_a_retry_that_nothing_deployed_can_make_suspends_the_saga() -> None:
    waiting = after(milliseconds=250, charge="fails").state()
    shard = owner_with(waiting, definition("reserve"))
    entries = shard.apply("saga", StepDue(1, "charge", 2), BEGINNING + timedelta(hours=1)).entries
    assert [entry.event.ce_type for entry in entries] == ["sagahook.saga.suspended.v1"]
