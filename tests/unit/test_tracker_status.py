"""Each row of the status table of api.md §1."""

import pytest

from sagahook_tracker.domain.runs import State
from sagahook_tracker.domain.status import Answer, EventView, SagaView, answer

RECEIVED = EventView("e")


def event(*states: State | None, lost_routes: int = 0, name: str = "e") -> EventView:
    """A webhook that asked for one saga for each of the states; None: it has not started."""
    sagas = tuple(
        SagaView(f"{name}-{number}", "order", run=state and 1, state=state)
        for number, state in enumerate(states)
    )
    return EventView(name, "triggered", sagas=sagas, lost_routes=lost_routes)


def not_wanted(reason: str) -> EventView:
    return EventView("e", "ignored", reason=reason)


def broken(reason: str) -> EventView:
    return EventView("e", "failed", reason=reason, lost_routes=1)


@pytest.mark.parametrize(
    ("events", "status", "message"),
    [
        ([RECEIVED], "queued", "Event queued for processing"),
        ([event(None)], "processing", "Event is being processed"),
        ([event("EXECUTING", None)], "processing", "Event is being processed"),
        ([event("EXECUTING")], "triggered", "Event triggered 1 saga(s), waiting for completion"),
        (
            [event("COMPLETED", "COMPENSATING")],
            "triggered",
            "Event triggered 2 saga(s), waiting for completion",
        ),
        ([event("SUSPENDED")], "triggered", "Event triggered 1 saga(s), waiting for completion"),
        ([event("COMPLETED")], "completed", "All 1 saga(s) completed successfully"),
        ([event("COMPLETED", "COMPLETED")], "completed", "All 2 saga(s) completed successfully"),
        (
            [event("COMPLETED", "ROLLED_BACK", "FAILED")],
            "completed_with_failures",
            "1 saga(s) completed, 2 failed",
        ),
        ([event("ROLLED_BACK")], "failed", "Saga execution failed"),
        ([event("FAILED", "ROLLED_BACK")], "failed", "Saga execution failed"),
        ([broken("order: KeyError: 'total'")], "failed", "order: KeyError: 'total'"),
        ([not_wanted("no trigger wants it")], "ignored", "no trigger wants it"),
    ],
)
def test_one_event(events: list[EventView], status: str, message: str) -> None:
    found = answer(events)
    assert (found.status, found.message) == (status, message)


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([RECEIVED, RECEIVED], "queued"),
        ([RECEIVED, event("COMPLETED")], "processing"),
        ([RECEIVED, not_wanted("x")], "processing"),
        ([event("COMPLETED", name="a"), event("EXECUTING", name="b")], "triggered"),
        ([event("COMPLETED", name="a"), event("COMPLETED", name="b")], "completed"),
        ([event("COMPLETED", name="a"), event("ROLLED_BACK", name="b")], "completed_with_failures"),
        ([event("COMPLETED"), not_wanted("x")], "completed"),
        ([event("COMPLETED"), broken("x")], "completed_with_failures"),
        ([event("ROLLED_BACK"), broken("x")], "failed"),
        ([broken("x"), not_wanted("y")], "failed"),
    ],
)
def test_several_events_of_one_correlation_id_are_one_answer(events: list[EventView], status: str) -> None:
    assert answer(events).status == status
    assert answer(events[::-1]).status == status


def test_a_trigger_that_failed_beside_one_that_succeeded_is_not_hidden() -> None:
    found = answer([event("COMPLETED", lost_routes=1)])
    assert (found.status, found.message) == ("completed_with_failures", "1 saga(s) completed, 1 failed")


def test_a_saga_that_two_events_asked_for_counts_once() -> None:
    found = answer([event("COMPLETED", name="same"), event("COMPLETED", name="same")])
    assert found.message == "All 1 saga(s) completed successfully"
    assert [saga.saga_id for saga in found.sagas] == ["same-0"]


def test_a_saga_that_is_known_before_its_route_means_that_the_event_is_being_processed() -> None:
    early = EventView("e", sagas=(SagaView("s", "order", run=1, state="COMPLETED"),))
    assert answer([early]).status == "processing"


def test_only_these_statuses_are_final() -> None:
    every: list[Answer] = [
        answer([RECEIVED]),
        answer([event(None)]),
        answer([event("EXECUTING")]),
        answer([event("SUSPENDED")]),
        answer([event("COMPLETED")]),
        answer([event("COMPLETED", "FAILED")]),
        answer([event("FAILED")]),
        answer([not_wanted("x")]),
    ]
    assert [each.status for each in every if each.final] == [
        "completed",
        "completed_with_failures",
        "failed",
        "ignored",
    ]


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (None, "pending"),
        ("PENDING", "pending"),
        ("EXECUTING", "executing"),
        ("COMPENSATING", "compensating"),
        ("COMPLETED", "completed"),
        ("ROLLED_BACK", "failed"),
        ("FAILED", "failed"),
        ("SUSPENDED", "suspended"),
    ],
)
def test_the_word_for_each_saga(state: State | None, status: str) -> None:
    assert event(state).sagas[0].status == status
