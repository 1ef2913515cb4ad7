"""Logs in which much of what can happen does, for tests that compare whole views."""

from itertools import chain

from sagahook_schemas.commands import ParentStep
from sagahook_schemas.definitions import SagaDefinition
from sagahook_schemas.notifications import DeliveryAttemptFailed, DeliverySucceeded
from sagahook_schemas.sagas import SagaProgressed, SagaResumed, SagaSuspended
from sagahook_schemas.steps import StepAttemptLost
from tests.tracker_log import T0, SagaLog, Written, audited, controlled, deployed, notified, received, routed


def webhook(number: int, kind: int) -> list[Written]:
    """One webhook and what it brought about: an end of each kind, retries, a join, a child, nothing, no route yet."""
    event, saga, cid = f"e{number}", f"s{number}", f"c{number}"
    log = SagaLog(saga).started_with(
        event_id=event, correlation_id=cid, context={"order": number}, attributes={"kind": kind}
    )
    match kind:
        case 0:
            log.done("reserve", "charge", "ship").completed()
        case 1:
            log.declined()
        case 2:
            log.scheduled("reserve").failed_attempt("reserve", "Timeout: slow").retry("reserve", 2)
            log.scheduled("reserve", attempt=2).awaiting("reserve", "approval")
        case 3:
            log.done("reserve").scheduled("charge").failed_attempt("charge", "no").compensating(
                "charge", "no"
            )
            log.failed("charge", "no", "reserve")
        case 4:
            log.done("reserve").completed().joined(f"{event}-again", f"{cid}-again", state="COMPLETED")
            again = [
                received(f"{event}-again", f"{cid}-again"),
                routed(f"{event}-again", f"{cid}-again", saga),
            ]
            return [received(event, cid), routed(event, cid, saga), *again, *log.written]
        case 5:
            child = SagaLog(f"{saga}-child").started_with(
                parent=ParentStep(saga_id=saga, run=1, step="ship"), event_id=event, correlation_id=cid
            )
            log.add(SagaSuspended(reason="lost", cause="losses")).add(
                SagaResumed(actor="ada", reason="fixed")
            )
            log.add(SagaProgressed(progress=0.5, message="half"))
            return [received(event, cid), routed(event, cid, saga), *log.written, *child.done("pack").written]
        case 6:
            return [received(event, cid), routed(event, cid, reason="nobody wants it")]
        case 7:
            return [received(event, cid)]
    return [received(event, cid), routed(event, cid, saga), *log.written]


def further() -> list[Written]:
    """A webhook that was reprocessed, an attempt that was lost, outbound webhooks, and what people did."""
    first = (
        SagaLog("s-again")
        .started_with(event_id="e-again", correlation_id="c-again", attributes={"repository": "a/b", "pr": 7})
        .declined()
    )
    second = (
        SagaLog("s-again", run=2).started("e-again", "c-again").done("reserve", "charge", "ship").completed()
    )
    lost = SagaLog("s-lost").started("e-lost", "c-lost").scheduled("reserve")
    lost.add(StepAttemptLost(step="reserve", phase="action", attempt=1, reason="crash"))
    lost.scheduled("reserve", attempt=2)
    delivery = {
        "delivery_id": "d-1",
        "endpoint_id": "end",
        "event_id": "s-again/1/1",
        "event_type": "task_started",
        "saga_id": "s-again",
        "correlation_id": "c-again",
    }
    failed = DeliveryAttemptFailed(
        **delivery, attempt=1, error="HTTP 500", status_code=500, next_attempt_at=T0
    )
    return [
        received("e-again", "c-again"),
        received("e-lost", "c-lost"),
        routed("e-again", "c-again", "s-again"),
        routed("e-lost", "c-lost", "s-lost"),
        routed("e-again", "c-again", "s-again", reprocess="command-1"),
        *first.written,
        *second.written,
        *lost.written,
        notified(failed),
        notified(failed, 1),
        notified(DeliverySucceeded(**delivery, attempt=2, status_code=200), 2),
        audited("a-1"),
    ]


def interesting(count: int = 24, first: int = 0) -> list[Written]:
    definition = SagaDefinition(name="order", version=3, triggers=(), steps=())
    return [
        deployed(definition),
        controlled("source", "shop", True),
        *chain.from_iterable(webhook(number, number % 8) for number in range(first, first + count)),
    ]
