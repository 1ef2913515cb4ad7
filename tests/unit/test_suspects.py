"""Steps that may have killed their process twice begin one by one, so that a third time has one to blame."""

from datetime import UTC, datetime

import pytest

from sagahook_runner.domain.commands import DeadlineDue, StepDue
from sagahook_runner.domain.state import Open, SagaState, Standing
from sagahook_runner.handlers.suspects import Suspects, suspect_of

ONE, OTHER = ("saga-1", "charge"), ("saga-2", "charge")
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def waiting(losses: int, standing: Standing = "waiting") -> SagaState:
    opened = Open("charge", "action", standing, attempt=losses + 1, at=NOW, losses=losses)
    return SagaState("saga-1", status="EXECUTING", open={"charge": opened})


def test_only_an_attempt_whose_loss_would_suspend_its_saga_waits_for_its_turn() -> None:
    due = StepDue(1, "charge", 3)
    assert suspect_of(waiting(2), due) == ONE
    assert suspect_of(waiting(1), due) is None
    assert suspect_of(waiting(2, "running"), due) is None
    assert suspect_of(waiting(2), DeadlineDue(1)) is None
    assert suspect_of(SagaState("saga-1"), due) is None


def test_one_begins_only_when_the_last_has_ended() -> None:
    suspects = Suspects()
    assert suspects.may_begin(ONE, now=10.0)
    assert not suspects.may_begin(OTHER, now=10.1)
    suspects.began(ONE, now=10.2)
    assert not suspects.may_begin(OTHER, now=10.3)
    suspects.ended(ONE)
    assert suspects.may_begin(OTHER, now=10.4)


@pytest.mark.parametrize(("begins_at", "free_at"), [(10.2, 15.2), (None, 30.0)])
def test_one_that_takes_long_or_never_begins_does_not_hold_up_the_others_for_ever(
    begins_at: float | None, free_at: float
) -> None:
    suspects = Suspects()
    assert suspects.may_begin(ONE, now=10.0)
    if begins_at is not None:
        suspects.began(ONE, now=begins_at)
    assert not suspects.may_begin(OTHER, now=free_at - 0.01)
    assert suspects.may_begin(OTHER, now=free_at)


def test_the_end_of_another_attempt_ends_no_turn() -> None:
    suspects = Suspects()
    assert suspects.may_begin(ONE, now=10.0)
    suspects.ended(OTHER)
    assert not suspects.may_begin(OTHER, now=10.1)
