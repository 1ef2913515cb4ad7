"""Which sagas do not go on by themselves, and what to do about each."""

from datetime import UTC, datetime, timedelta

import pytest

from sagahook_schemas.definitions import Retry, SagaDefinition, StepDefinition
from sagahook_schemas.envelope import rfc3339
from sagahook_tracker.domain.runs import Run, State, Step
from sagahook_tracker.domain.stuck import judged

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ORDER = SagaDefinition(
    name="order",
    version=1,
    triggers=(),
    steps=(StepDefinition(name="charge", timeout=300, retry=Retry()),),
)


def run(state: State = "EXECUTING", *steps: Step, ago: float = 3600, **fields: object) -> Run:
    """Its last event is so many seconds old."""
    told = {"name": "order", "updated_at": NOW - timedelta(seconds=ago), **fields}
    return Run("s-1", 1, 1, state=state, steps=steps, **told)  # type: ignore[arg-type]


def ahead(seconds: float) -> str:
    return rfc3339(NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize("state", ["COMPLETED", "ROLLED_BACK"])
def test_what_ended_well_is_not_stuck(state: State) -> None:
    assert judged(run(state), ORDER, NOW) is None


def test_effects_that_are_left_behind_wait_for_a_person() -> None:
    found = judged(run("FAILED", unresolved=("reserve it", "pay"), error="No"), ORDER, NOW)
    assert found is not None
    assert (found.kind, found.why) == ("failed", "the effects of reserve it, pay are left behind: No")
    assert found.next.command == "sagahook sagas resolve s-1 --step 'reserve it' --how retry"


def test_a_failed_saga_that_left_nothing_behind_is_over() -> None:
    assert judged(run("FAILED"), ORDER, NOW) is None


@pytest.mark.parametrize(
    ("cause", "command"),
    [
        ("forward", "sagahook sagas retry s-1"),
        ("losses", "sagahook sagas retry s-1"),
        ("definition", "sagahook sagas show s-1"),
        ("engine", "sagahook history s-1"),
        (None, "sagahook sagas retry s-1"),
    ],
)
def test_what_is_suspended_names_what_helps(cause: str | None, command: str) -> None:
    found = judged(run("SUSPENDED", cause=cause, reason="why", ago=1), ORDER, NOW)
    assert found is not None
    assert (found.kind, found.why, found.next.command) == ("suspended", "why", command)


def test_what_a_pause_holds_names_the_pause() -> None:
    found = judged(run("PENDING"), ORDER, NOW, held="source shop")
    assert found is not None
    assert (found.kind, found.next.command) == ("held", "sagahook sources resume shop")


def test_what_waits_for_its_turn_in_a_limit_is_not_overdue() -> None:
    assert judged(run("PENDING", limit_key="limit/order"), ORDER, NOW) is None


def test_a_step_is_overdue_when_its_time_out_is_long_past() -> None:
    running = Step("charge", "running", attempts=1)
    assert judged(run("EXECUTING", running, ago=350), ORDER, NOW) is None
    found = judged(run("EXECUTING", running, ago=370), ORDER, NOW)
    assert found is not None
    assert found.kind == "overdue"
    assert found.since == NOW - timedelta(seconds=70)


def test_a_timer_is_overdue_when_it_should_have_gone_off_long_ago() -> None:
    def waits(seconds: float) -> Run:
        return run("EXECUTING", Step("pause", "waiting", due_at=ahead(seconds)))

    assert judged(waits(3600), ORDER, NOW) is None
    assert judged(waits(-59), ORDER, NOW) is None
    assert judged(waits(-61), ORDER, NOW) is not None


def test_who_waits_for_a_signal_without_an_end_or_for_a_child_is_not_overdue() -> None:
    assert judged(run("EXECUTING", Step("approve", "waiting", signal="approval")), ORDER, NOW) is None
    assert judged(run("EXECUTING", Step("ship", "running", child_id="c")), ORDER, NOW) is None


def test_the_items_of_a_step_are_looked_at_and_not_the_step() -> None:
    item = Step("charge[0]", "running", attempts=1)
    assert judged(run("EXECUTING", Step("charge", "running"), item, ago=350), ORDER, NOW) is None
    assert judged(run("EXECUTING", Step("charge", "running"), item, ago=370), ORDER, NOW) is not None


def test_a_saga_past_its_deadline_is_overdue_also_while_it_waits_for_its_turn() -> None:
    late = NOW - timedelta(minutes=2)
    assert judged(run("PENDING", deadline_at=late), ORDER, NOW) is not None
    assert judged(run("PENDING", deadline_at=NOW), ORDER, NOW) is None


def test_a_saga_of_which_no_step_is_under_way_is_overdue_soon() -> None:
    done = Step("charge", "completed")
    assert judged(run("EXECUTING", done, ago=59), ORDER, NOW) is None
    assert judged(run("EXECUTING", done, ago=61), ORDER, NOW) is not None


def test_without_its_definition_the_longest_usual_time_out_is_taken() -> None:
    running = Step("charge", "running", attempts=1)
    assert judged(run("EXECUTING", running, ago=89), None, NOW) is None
    assert judged(run("EXECUTING", running, ago=91), None, NOW) is not None
