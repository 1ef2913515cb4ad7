"""From the log's events to deliveries: what is said, to whom, and never twice."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from orjson import loads
from pydantic import SecretStr

from sagahook.runtime.sources import Source
from sagahook_notifier.domain.endpoints import LOOK_BACK, PayloadFormat, Subscriber
from sagahook_notifier.domain.payloads import CLOUD_EVENT, Limits
from sagahook_notifier.domain.plan import Event, Known, NewDelivery, Plan, plan, types_to_pass_over
from sagahook_notifier.domain.sagas import RESULTS_LIMIT
from sagahook_schemas import sagas, steps
from sagahook_schemas.base import Contract
from sagahook_schemas.definitions import Retry, StepDefinition
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import delivery_id, notify_endpoint_id, saga_event_id

SAGA = "saga-1"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
URL = "https://caller.example/done"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LIMITS = Limits(256 * 1024)
SOURCES = {"orders": Source(secret=SecretStr(SECRET), allow_notify_url=True)}


def started(notify_url: str | None = None, **more: Any) -> sagas.SagaStarted:
    return sagas.SagaStarted(
        name="order",
        version=1,
        definition_hash="h",
        source="orders",
        event_id="e-1",
        correlation_id="c-1",
        notify_url=notify_url,
        **{"context": {}, "total_steps": 2, **more},
    )


def joined(state: str, correlation_id: str = "c-2", notify_url: str | None = URL) -> sagas.SagaJoined:
    return sagas.SagaJoined(
        name="order",
        source="orders",
        event_id="e-2",
        correlation_id=correlation_id,
        state=state,
        notify_url=notify_url,
    )


def done(step: str, result: Any = None) -> steps.StepCompleted:
    return steps.StepCompleted(step=step, phase="action", attempt=1, result=result)


def said(progress: float, message: str = "") -> sagas.SagaProgressed:
    return sagas.SagaProgressed(progress=progress, message=message)


COMPLETED = sagas.SagaCompleted(name="order")
ROLLED_BACK = sagas.SagaRolledBack(name="order", failed_step="charge", error="Declined: 999 is too much")
FAILED = sagas.SagaFailed(name="order", failed_step="charge", error="Declined", unresolved=("reserve",))
STARTED = started()


def log(*events: Contract, run: int = 1, first: int = 1) -> list[Event]:
    """The events of one run, numbered from `first`."""
    return [
        (
            Envelope(
                id=saga_event_id(SAGA, run, sequence),
                source="/sagahook/saga-runner",
                type=event.ce_type,
                time=NOON,
                subject="order",
                correlation_id=getattr(event, "correlation_id", "c-1"),
                saga_id=SAGA,
                run=run,
                sequence=sequence,
            ),
            event,
        )
        for sequence, event in enumerate(events, first)
    ]


def endpoint(*types: str, **options: Any) -> Subscriber:
    return Subscriber("crm", types or ("task_started", "task_completed", "task_failed"), NOON, **options)


def made(
    events: list[Event], *subscribers: Subscriber, after: Plan | None = None, limits: Limits = LIMITS
) -> Plan:
    """What is planned; `after`: what was planned of earlier events, and stored."""
    known = Known(
        views=after.views if after else {},
        subscriptions=after.subscriptions if after else [],
        subscribers=subscribers,
    )
    return plan(events, known, SOURCES, limits)


def body(delivery: NewDelivery) -> dict[str, Any]:
    return dict(loads(delivery.body))


def types(planned: Plan) -> list[str]:
    return [delivery.event_type for delivery in planned.deliveries]


def test_of_what_happened_before_the_fence_nothing_is_told_but_it_is_remembered() -> None:
    fence = NOON + timedelta(microseconds=1)
    old = plan(log(started(notify_url=URL)), Known({}, [], [endpoint()], fence), SOURCES, LIMITS)
    assert old.deliveries == []

    known = Known(old.views, old.subscriptions, [endpoint()], fence)
    now = [(envelope._replace(time=fence), event) for envelope, event in log(COMPLETED, first=2)]
    told = {each.endpoint_id for each in plan(now, known, SOURCES, LIMITS).deliveries}
    assert told == {"crm", notify_endpoint_id("orders", URL)}


def test_an_endpoint_hears_of_a_sagas_start_and_end() -> None:
    planned = made(log(STARTED, done("reserve", {"id": 7}), done("charge"), COMPLETED), endpoint())

    assert types(planned) == ["task_started", "task_completed"]
    assert body(planned.deliveries[0]) == {
        "type": "task_started",
        "timestamp": "2026-03-01T12:00:00.000Z",
        "data": {
            "task_id": SAGA,
            "status": "started",
            "message": "order started",
            "progress": 0.0,
            "correlation_id": "c-1",
            "correlation_ids": ["c-1"],
            "name": "order",
            "version": 1,
            "source": "orders",
            "run": 1,
            "event_id": "saga-1/1/1",
        },
    }
    assert body(planned.deliveries[1])["data"] | {"event_id": ""} == {
        "task_id": SAGA,
        "status": "completed",
        "message": "order completed",
        "progress": 1.0,
        "result": {"reserve": {"id": 7}},
        "correlation_id": "c-1",
        "correlation_ids": ["c-1"],
        "name": "order",
        "version": 1,
        "source": "orders",
        "run": 1,
        "event_id": "",
    }


@pytest.mark.parametrize("end", [ROLLED_BACK, FAILED])
def test_a_failed_saga_is_told_with_its_error(end: sagas.SagaRolledBack | sagas.SagaFailed) -> None:
    planned = made(log(STARTED, end), endpoint("task_failed"))

    (delivery,) = planned.deliveries
    data = body(delivery)["data"]
    assert data["status"] == "failed"
    assert data["error"] == end.error
    assert end.error in data["message"]


def test_the_task_format_has_the_documented_shape() -> None:
    planned = made(log(STARTED, COMPLETED), endpoint("task_completed", payload_format="task"))

    told = body(planned.deliveries[0])
    assert told.keys() == {"event_type", "timestamp", "data"}
    assert told["event_type"] == "task_completed"
    assert told["data"].keys() == {"task_id", "status", "message", "progress", "result", "metadata"}
    assert told["data"]["metadata"]["correlation_id"] == "c-1"


def test_the_finer_events_carry_what_happened() -> None:
    planned = made(log(STARTED, done("reserve", 7)), endpoint("step.completed"))

    (delivery,) = planned.deliveries
    assert body(delivery)["type"] == "step.completed"
    assert body(delivery)["data"]["event"] == {
        "step": "reserve",
        "phase": "action",
        "attempt": 1,
        "result": 7,
        "duration_ms": 0,
    }


def test_a_callers_notify_url_is_told_to_no_other_endpoint() -> None:
    planned = made(log(started(notify_url=URL)), endpoint("saga.*"))

    assert URL.encode() not in planned.deliveries[0].body


def test_an_endpoint_hears_of_one_event_once_by_its_coarsest_name() -> None:
    planned = made(log(STARTED, COMPLETED), endpoint("saga.*", "task_completed"))

    assert types(planned) == ["saga.started", "task_completed"]


def test_progress_is_told_when_a_mark_is_crossed() -> None:
    begun = STARTED.model_copy(update={"total_steps": 10})
    events = log(begun, *(done(f"step-{number}") for number in range(10)), COMPLETED)

    planned = made(events, endpoint("task_progress"))

    assert [body(delivery)["data"]["progress"] for delivery in planned.deliveries] == [0.3, 0.5, 0.8]
    assert [body(delivery)["data"]["crossed"] for delivery in planned.deliveries] == [[0.25], [0.5], [0.75]]


@pytest.mark.parametrize(
    ("events", "crossed"),
    [
        ((done("reserve"), done("charge")), [[0.25, 0.5], [0.75]]),
        ((said(0.3), said(0.1), said(0.3), said(0.6)), [[0.25], [0.5]]),
        ((said(0.9),), [[0.25, 0.5, 0.75]]),
        ((done("reserve"), said(0.4), said(0.8)), [[0.25, 0.5], [0.75]]),
        ((done("pay[0]"), done("pay[1]"), done("pay")), [[0.25, 0.5]]),
        ((steps.StepSkipped(step="gift"), done("charge")), [[0.25, 0.5], [0.75]]),
        ((said(2.0), said(-1.0)), [[0.25, 0.5, 0.75]]),
    ],
)
def test_each_mark_is_told_of_once_in_a_run(events: tuple[Contract, ...], crossed: list[list[float]]) -> None:
    planned = made(log(STARTED, *events, COMPLETED), endpoint("task_progress"))
    again = made(log(STARTED, *events, COMPLETED, run=2), endpoint("task_progress"), after=planned)

    assert [body(delivery)["data"]["crossed"] for delivery in planned.deliveries] == crossed
    assert [body(delivery)["data"]["crossed"] for delivery in again.deliveries] == crossed


def test_of_a_function_counts_only_what_it_says_itself() -> None:
    declared = steps.StepDeclared(number=1, definition=StepDefinition(name="a", timeout=1, retry=Retry()))
    begun = started(total_steps=0)

    planned = made(log(begun, declared, done("a"), said(0.5, "half"), COMPLETED), endpoint("task_progress"))

    (told,) = planned.deliveries
    assert body(told)["data"]["message"] == "order is running: half"


def test_an_endpoint_hears_only_of_its_sources() -> None:
    assert types(made(log(STARTED), endpoint(sources=("stripe",)))) == []
    assert types(made(log(STARTED), endpoint(sources=("stripe", "orders")))) == ["task_started"]


def test_an_endpoint_hears_only_of_its_sagas() -> None:
    assert types(made(log(STARTED), endpoint(sagas=("refund",)))) == []
    assert types(made(log(STARTED), endpoint(sagas=("refund", "order")))) == ["task_started"]


def test_an_endpoint_hears_only_what_its_filter_wants() -> None:
    begun = started(attributes={"repository": "octo/hello"}, user_id="u-1")
    events = log(begun, done("reserve"), COMPLETED)

    def told(expression: str) -> list[str]:
        subscriber = endpoint("task_started", "task_progress", "task_completed", filter=expression)
        return types(made(events, subscriber))

    assert told('attributes.repository == "octo/hello" and progress >= 0.5') == [
        "task_progress",
        "task_completed",
    ]
    assert told('attributes.repository == "octo/other"') == []
    assert told('user_id == "u-1" and status == "started"') == ["task_started"]
    assert told('state == "COMPLETED" and saga == "order" and version == 1 and run == 1') == [
        "task_completed"
    ]
    assert told('type == "task_progress" and source == "orders" and correlation_id == "c-1"') == [
        "task_progress"
    ]


def test_a_webhook_carries_the_sagas_attributes_and_user() -> None:
    begun = started(attributes={"repository": "octo/hello"}, user_id="u-1")

    planned = made(log(begun, COMPLETED), endpoint("task_completed", payload_format="task"))

    metadata = body(planned.deliveries[0])["data"]["metadata"]
    assert metadata["attributes"] == {"repository": "octo/hello"}
    assert metadata["user_id"] == "u-1"


def test_the_cloudevents_format_is_a_structured_event() -> None:
    planned = made(log(STARTED, COMPLETED), endpoint("task_completed", payload_format="cloudevents"))

    (delivery,) = planned.deliveries
    told = body(delivery)
    assert delivery.content_type == CLOUD_EVENT
    assert told.pop("data")["status"] == "completed"
    assert told == {
        "specversion": "1.0",
        "id": "saga-1/1/2",
        "source": "/sagahook/notifier",
        "type": "sagahook.task_completed.v1",
        "time": "2026-03-01T12:00:00.000Z",
        "datacontenttype": "application/json",
        "subject": SAGA,
        "sagaid": SAGA,
        "sagarun": 1,
        "sequence": 2,
        "correlationid": "c-1",
    }


def test_a_new_endpoint_does_not_hear_the_logs_whole_past() -> None:
    late = Subscriber("crm", ("task_started",), registered_at=NOON + LOOK_BACK + timedelta(seconds=1))
    just_in_time = Subscriber("crm", ("task_started",), registered_at=NOON + LOOK_BACK)

    assert types(made(log(STARTED), late)) == []
    assert types(made(log(STARTED), just_in_time)) == ["task_started"]


def test_events_that_were_read_before_are_passed_over() -> None:
    events = log(STARTED, COMPLETED)
    first = made(events, endpoint())

    again = made(events, endpoint(), after=first)

    assert again == Plan()


def test_a_reading_in_pieces_plans_the_same_deliveries() -> None:
    events = log(STARTED, done("reserve", 1), done("charge", 2), COMPLETED)
    at_once = made(events, endpoint())

    first = made(events[:2], endpoint())
    second = made(events[2:], endpoint(), after=first)

    assert first.deliveries + second.deliveries == at_once.deliveries


def test_a_further_run_is_told_afresh() -> None:
    first = made(log(STARTED, done("reserve"), ROLLED_BACK), endpoint())

    second = made(log(STARTED, COMPLETED, run=2), endpoint(), after=first)

    assert types(second) == ["task_started", "task_completed"]
    assert "error" not in body(second.deliveries[1])["data"]
    assert {d.delivery_id for d in first.deliveries}.isdisjoint(d.delivery_id for d in second.deliveries)


def test_a_notify_url_hears_of_the_end_alone() -> None:
    planned = made(log(started(notify_url=URL), done("reserve"), COMPLETED))

    (delivery,) = planned.deliveries
    hook = notify_endpoint_id("orders", URL)
    assert delivery.event_type == "task_completed"
    assert delivery.endpoint_id == hook
    assert delivery.delivery_id == delivery_id(saga_event_id(SAGA, 1, 3), hook)
    assert planned.endpoints[hook].url == URL


def test_a_notify_url_that_joins_a_running_saga_hears_of_its_end_under_its_own_correlation_id() -> None:
    planned = made(log(STARTED, joined("EXECUTING"), ROLLED_BACK))

    (delivery,) = planned.deliveries
    assert delivery.event_type == "task_failed"
    assert body(delivery)["data"]["correlation_id"] == "c-2"
    assert body(delivery)["data"]["correlation_ids"] == ["c-1", "c-2"]


@pytest.mark.parametrize(
    ("end", "state", "expected"),
    [
        (COMPLETED, "COMPLETED", "task_completed"),
        (ROLLED_BACK, "ROLLED_BACK", "task_failed"),
        (FAILED, "FAILED", "task_failed"),
    ],
)
def test_a_notify_url_that_joins_a_finished_saga_hears_at_once(
    end: Contract, state: str, expected: str
) -> None:
    before = made(log(STARTED, done("reserve", 7), end))

    planned = made(log(joined(state), first=4), after=before)

    (delivery,) = planned.deliveries
    assert delivery.event_type == expected
    assert body(delivery)["type"] == expected
    assert body(delivery)["data"]["correlation_id"] == "c-2"


def test_a_notify_url_named_twice_hears_once() -> None:
    planned = made(log(started(notify_url=URL), joined("EXECUTING"), COMPLETED))

    assert types(planned) == ["task_completed"]


def test_a_replay_without_the_views_plans_no_delivery_that_was_not_planned_before() -> None:
    events = log(STARTED, COMPLETED, joined("COMPLETED"))
    first = made(events, endpoint())

    again = plan(events, Known({}, first.subscriptions, [endpoint()]), SOURCES, LIMITS)

    assert again.deliveries == first.deliveries


@pytest.mark.parametrize(
    "sources",
    [
        {},
        {"orders": Source(secret=SecretStr(SECRET), allow_notify_url=False)},
        {"orders": Source(secret=None, allow_notify_url=True)},
    ],
)
def test_a_notify_url_counts_only_where_the_source_allows_and_signs_it(sources: dict[str, Source]) -> None:
    planned = plan(log(started(notify_url=URL), COMPLETED), Known({}, [], []), sources, LIMITS)

    assert planned.deliveries == []
    assert planned.endpoints == {}


def test_a_notify_url_that_nothing_can_be_sent_to_is_left_out() -> None:
    assert made(log(started(notify_url="gopher://caller.example"), COMPLETED)).deliveries == []


@pytest.mark.parametrize("payload_format", ["standard", "task", "cloudevents"])
@pytest.mark.parametrize("result", ["x" * 20_000, "x" * RESULTS_LIMIT])
def test_a_result_that_is_too_large_is_linked_to(payload_format: PayloadFormat, result: str) -> None:
    limits = Limits(16 * 1024, "https://sagas.example/")

    planned = made(
        log(STARTED, done("reserve", result), COMPLETED),
        endpoint("task_completed", payload_format=payload_format),
        limits=limits,
    )

    (delivery,) = planned.deliveries
    data = body(delivery)["data"]
    told = data["metadata"] if payload_format == "task" else data
    assert len(delivery.body) <= limits.body
    assert "result" not in data
    assert (told["truncated"], told["result_url"]) == (True, f"https://sagas.example/api/v1/tasks/{SAGA}")


def test_whatever_is_large_a_body_fits() -> None:
    large = "é" * 20_000
    begun = started(attributes={"a": large[:10_000]}, user_id="u", context={"c": large})
    failed = sagas.SagaRolledBack(name="order", failed_step="charge", error=large)
    limits = Limits(16 * 1024)

    planned = made(
        log(begun, done("reserve", large), failed), endpoint("saga.*", "task_failed"), limits=limits
    )

    assert types(planned) == ["saga.started", "task_failed"]
    assert all(len(delivery.body) <= limits.body for delivery in planned.deliveries)
    assert all(body(delivery)["data"]["truncated"] for delivery in planned.deliveries)
    assert "result_url" not in body(planned.deliveries[0])["data"]


def test_a_log_without_its_beginning_is_read_all_the_same() -> None:
    planned = made(log(COMPLETED, first=5), endpoint("task_completed"))

    assert body(planned.deliveries[0])["data"]["name"] == "order"


def test_only_events_that_matter_are_decoded() -> None:
    scheduled = steps.StepScheduled.ce_type

    assert sagas.SagaStarted.ce_type not in types_to_pass_over([])
    assert scheduled in types_to_pass_over([endpoint()])
    assert scheduled not in types_to_pass_over([endpoint("step.*")])
    assert sagas.OwnerAcquired.ce_type in types_to_pass_over([])
    assert "sagahook.saga.started.v9" not in types_to_pass_over([])
