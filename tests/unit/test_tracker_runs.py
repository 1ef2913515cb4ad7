"""How one run is told from its log."""

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from sagahook_tracker.domain.evolve import evolve
from sagahook_tracker.domain.runs import Run, Step
from tests.tracker_log import T0, SagaLog, Written


def fold(log: SagaLog) -> Run:
    run = reduce(_evolve, log.written, None)
    assert run is not None
    return run


def _evolve(run: Run | None, record: Written) -> Run:
    assert record.data is not None
    return evolve(run, record.envelope, record.data, number=7)


def saga() -> SagaLog:
    return SagaLog("saga-1").started("event-1", "cid", order=42)


def test_a_started_run_is_executing_and_knows_where_it_comes_from() -> None:
    run = fold(saga())
    assert (run.state, run.name, run.version, run.user_id, run.total_steps) == (
        "EXECUTING",
        "order",
        3,
        "u-1",
        3,
    )
    assert run.context == {"order": 42}
    assert (run.number, run.sequence) == (7, 1)
    assert (run.started_at, run.finished_at) == (T0.replace(second=1), None)


def test_a_completed_run_has_every_step_and_an_end() -> None:
    run = fold(saga().done("reserve", "charge", "ship").completed())
    assert run.state == "COMPLETED"
    assert run.completed_steps == ("reserve", "charge", "ship")
    assert run.steps == tuple(Step(name, "completed", attempts=1) for name in ("reserve", "charge", "ship"))
    assert run.finished_at == run.updated_at == T0.replace(second=8)
    assert run.attempts == 3


def test_an_attempt_that_failed_is_told_until_the_next_one_succeeds() -> None:
    log = saga().scheduled("charge").failed_attempt("charge", "Timeout: no answer")
    assert fold(log).steps == (Step("charge", "failed", 1, "Timeout: no answer"),)
    log.retry("charge", attempt=2)
    assert fold(log).steps == (
        Step("charge", "retrying", 1, "Timeout: no answer", due_at="2026-01-01T00:00:00.000Z"),
    )
    log.scheduled("charge", attempt=2)
    assert fold(log).steps == (Step("charge", "running", 2, "Timeout: no answer"),)


def test_a_run_that_was_rolled_back_says_which_step_failed_and_what_was_undone() -> None:
    run = fold(saga().declined("charge", "Declined: too much"))
    assert (run.state, run.failed_step, run.error) == ("ROLLED_BACK", "charge", "Declined: too much")
    assert run.completed_steps == ("reserve",)
    assert run.steps == (
        Step("reserve", "compensated", attempts=1, compensation_attempts=1),
        Step("charge", "failed", 1, "Declined: too much"),
    )


def test_a_compensation_that_fails_for_good_fails_the_run() -> None:
    log = saga().done("reserve").scheduled("charge").failed_attempt("charge", "Declined")
    log.compensating("charge", "Declined", "reserve").scheduled("reserve", phase="compensation")
    log.failed_attempt("reserve", "Gone", phase="compensation").failed("charge", "Declined", "reserve")
    run = fold(log)
    assert (run.state, run.failed_step) == ("FAILED", "charge")
    assert run.steps[0].status == "compensation_failed"


def test_a_suspended_run_says_why_until_it_goes_on() -> None:
    log = saga().scheduled("charge").suspended("the process died three times")
    assert (fold(log).state, fold(log).reason) == ("SUSPENDED", "the process died three times")
    log.scheduled("charge", attempt=4)
    assert (fold(log).state, fold(log).reason) == ("EXECUTING", None)


def test_joining_a_finished_run_changes_nothing_but_the_sequence() -> None:
    log = saga().done("reserve").completed()
    before = fold(log)
    after = fold(log.joined("event-2", "other", state="COMPLETED"))
    assert (after.state, after.finished_at, after.sequence) == ("COMPLETED", before.finished_at, 5)


def test_a_log_whose_beginning_is_gone_is_told_from_where_it_begins() -> None:
    log = saga().done("reserve").completed()
    del log.written[0]
    run = fold(log)
    assert (run.state, run.name, run.context, run.started_at) == ("COMPLETED", "order", None, None)


@given(st.data())
def test_events_that_come_again_change_nothing(data: st.DataObject) -> None:
    log = saga().declined()
    again = data.draw(st.lists(st.sampled_from(range(len(log.written)))))
    repeated = list(log.written)
    for position in sorted(again, reverse=True):
        repeated.insert(data.draw(st.integers(position + 1, len(repeated))), log.written[position])
    assert reduce(_evolve, repeated, None) == fold(log)
